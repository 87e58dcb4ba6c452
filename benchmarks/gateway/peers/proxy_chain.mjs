// proxy-chain as its README starts it: each chip's credential is looked up, and its own login at the provider is used.
// node proxy_chain.mjs CONFIG.json
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const config = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const { Server } = createRequire(config.modules)('proxy-chain');

const server = new Server({
  host: '127.0.0.1',
  port: config.port,
  prepareRequestFunction: ({ username, password }) => {
    const chip = config.chips[username];
    const known = chip !== undefined && chip.token === password;
    return { requestAuthentication: !known, upstreamProxyUrl: known ? chip.upstream : null };
  },
});
await server.listen();
