/** Prometheus text of this process. No chip ids: labels stay few. Bytes are the gateway's to count, never ours. */

import { performance } from 'node:perf_hooks'

type Labels = Record<string, string | number>

class Counter {
  readonly #counts = new Map<string, number>()
  readonly #name: string
  readonly #help: string

  constructor(name: string, help: string) {
    this.#name = name
    this.#help = help
  }

  add(labels: Labels = {}, by = 1): void {
    const series = seriesOf(this.#name, labels)
    this.#counts.set(series, (this.#counts.get(series) ?? 0) + by)
  }

  lines(): string[] {
    const counts = [...this.#counts].map(([series, count]) => `${series} ${count}`)
    return [...head(this.#name, 'counter', this.#help), ...counts]
  }
}

/** What is read at scrape time: name without prefix, help, and value by label. */
export type Gauge = { name: string; help: string; read: () => [Labels, number][] }

export class Metrics {
  readonly dials = new Counter('whago_bridge_dials_total', 'Connections that chips began.')
  readonly closes = new Counter('whago_bridge_closes_total', 'Ended connections, by the layer and reason that ended them.')
  readonly events = new Counter('whago_bridge_events_total', 'Events to the backend, by result.')
  readonly denied = new Counter('whago_bridge_egress_denied_total', 'Connections outside the gateway that were refused.')
  readonly mediaRefusals = new Counter('whago_bridge_media_refusals_total', 'Uploads that the gateway refused.')
  readonly strayErrors = new Counter('whago_bridge_stray_errors_total', 'Errors that Baileys left unanswered.')
  readonly requests = new Counter('whago_bridge_requests_total', 'API requests, by status.')
  readonly #gauges: Gauge[] = []

  gauge(gauge: Gauge): void {
    this.#gauges.push(gauge)
  }

  text(): string {
    const counters = [
      this.dials, this.closes, this.events, this.denied, this.mediaRefusals, this.strayErrors, this.requests,
    ].flatMap((counter) => counter.lines())
    const gauges = this.#gauges.flatMap((gauge) => [
      ...head(gauge.name, 'gauge', gauge.help),
      ...gauge.read().map(([labels, value]) => `${seriesOf(gauge.name, labels)} ${value}`),
    ])
    return [...counters, ...gauges, ...this.#processLines(), ''].join('\n')
  }

  #processLines(): string[] {
    return [
      ...head('process_resident_memory_bytes', 'gauge', 'Resident memory.'),
      `process_resident_memory_bytes ${process.memoryUsage.rss()}`,
      ...head('whago_bridge_loop_utilization', 'gauge', 'Share of its life in which the event loop was busy, 0 to 1.'),
      `whago_bridge_loop_utilization ${performance.eventLoopUtilization().utilization}`,
    ]
  }
}

function head(name: string, kind: 'counter' | 'gauge', help: string): string[] {
  return [`# HELP ${name} ${help}`, `# TYPE ${name} ${kind}`]
}

function seriesOf(name: string, labels: Labels): string {
  const pairs = Object.entries(labels).map(([label, value]) => `${label}="${escape(String(value))}"`)
  return pairs.length > 0 ? `${name}{${pairs.join(',')}}` : name
}

function escape(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
}
