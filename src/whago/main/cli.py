"""The command line. Every command imports what it needs when it runs, so that each process loads only its own part."""

from __future__ import annotations

import errno
import sys
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Final

import typer

from whago.errors import SettingsError, WhagoError
from whago.main.leash import StartError, TryLater

LOOPBACK: Final = "127.0.0.1"
CANNOT_START: Final = 2  # also what a supervisor takes as "trying again changes nothing"
FAILED: Final = 1
ADDRESS_REFUSED: Final = (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES)

app = typer.Typer(
    name="whago",
    help="Sticky residential proxies for WhatsApp chips: metered, priced and capped to the byte.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Host = Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for every network.")]
Port = Annotated[int, typer.Option(min=1, max=65535, help="TCP port to listen on.")]
Processes = Annotated[int, typer.Option(min=1, max=64, help="Gateway processes that share the port.")]
StatusHost = Annotated[
    str, typer.Option(help="Address of that port; another than loopback shows figures to whoever reaches it.")
]
Hold = Annotated[bool, typer.Option("--hold", hidden=True, help="Load, then wait for the end of standard input.")]


def main() -> None:
    """Run the command line. What a person can mend is one sentence on stderr, never a trace."""
    try:
        app(prog_name="whago")
    except TryLater as error:
        print(f"whago: {error}", file=sys.stderr)
        sys.exit(FAILED)
    except (SettingsError, StartError) as error:
        print(f"whago: {error}", file=sys.stderr)
        sys.exit(CANNOT_START)
    except WhagoError as error:
        print(f"whago: {error}", file=sys.stderr)
        sys.exit(FAILED)
    except OSError as error:
        if error.errno not in ADDRESS_REFUSED:
            raise
        print(f"whago: {error.strerror}: choose another with --port or --host.", file=sys.stderr)
        sys.exit(CANNOT_START)


@app.command()
def up(
    demo: Annotated[bool, typer.Option("--demo", help="Add a simulated provider, customers and live traffic.")] = False,
    data: Annotated[Path | None, typer.Option(help="Folder that keeps everything.", file_okay=False)] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the pages and the API.")] = 8000,
    gateway_port: Annotated[int, typer.Option(min=1, max=65535, help="Port that chips connect to.")] = 3128,
    host: Host = LOOPBACK,
    gateway_processes: Processes = 1,
    bridges: Annotated[int, typer.Option(min=1, max=32, help="WhatsApp bridge processes.")] = 1,
) -> None:
    """Run everything on this machine, with its own database and broker, until Ctrl-C."""
    from whago.main.up import Options, run_up

    raise typer.Exit(run_up(Options(demo, data, host, port, gateway_port, gateway_processes, bridges)))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def test(context: typer.Context) -> None:
    """Run every check and test. --fast leaves out browser and fault tests; other arguments go to pytest."""
    from whago.main.test_runner import run_tests

    raise typer.Exit(run_tests(context.args))


@app.command()
def doctor(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the pages and the API.")] = 8000,
    gateway_port: Annotated[int, typer.Option(min=1, max=65535, help="Port that chips connect to.")] = 3128,
    data: Annotated[Path | None, typer.Option(help="Folder that keeps everything.", file_okay=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: a JSON array of findings.")] = False,
) -> None:
    """Say what this machine lacks, or, with WHAGO_DATABASE_URL set, what the installation does; and how to get it."""
    from whago.main.doctor import run_doctor

    raise typer.Exit(run_doctor(port=port, gateway_port=gateway_port, data=data, as_json=as_json))


@app.command()
def migrate() -> None:
    """Bring the database of WHAGO_DATABASE_URL up to this version."""
    from whago.main import migrate as command

    command.run()


@app.command()
def web(host: Host = LOOPBACK, port: Port = 8000) -> None:
    """Serve the pages and the API."""
    from whago.main import web as command

    command.run(host=host, port=port)


@app.command()
def gateway(
    host: Host = LOOPBACK,
    port: Port = 3128,
    processes: Processes = 1,
    status_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of /healthz, /readyz and /metrics; 0 for none.")
    ] = 9128,
    status_host: StatusHost = LOOPBACK,
    top: Annotated[
        bool, typer.Option("--top", help="Serve nothing: show what the gateways of this machine are doing.")
    ] = False,
    once: Annotated[bool, typer.Option("--once", help="With --top: one look, for scripts.")] = False,
    shared: Annotated[
        bool, typer.Option("--shared", hidden=True, help="Share the port with sibling processes.")
    ] = False,
    hold: Hold = False,
) -> None:
    """Serve the metering gateway (HTTP CONNECT and SOCKS5), or look at those that run."""
    if top:
        from whago.main import top as view

        view.run(status_port=status_port, once=once)
        return
    from whago.main import gateway as command

    _wait_to_begin(hold)
    command.run(
        host=host,
        port=port,
        processes=processes,
        status_port=status_port or None,
        status_host=status_host,
        reuse_port=shared,
    )


@app.command()
def worker(
    status_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of /healthz, /readyz and /metrics; 0 for any.")
    ] = 9148,
    status_host: StatusHost = LOOPBACK,
    beat: Annotated[bool, typer.Option(help="Send the clocks' ticks, too; without it, whago beat does.")] = True,
    hold: Hold = False,
) -> None:
    """Run the queues and the clocks."""
    from whago.main import worker as command

    _wait_to_begin(hold)
    command.run(status_port=status_port, status_host=status_host, beat=beat)


@app.command("beat")
def run_beat(
    status_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of /healthz, /readyz and /metrics; 0 for any.")
    ] = 9149,
    status_host: StatusHost = LOOPBACK,
) -> None:
    """Send the clocks' ticks, for workers that run with --no-beat. Two of them do no harm."""
    from whago.main import beat as command

    command.run(status_port=status_port, status_host=status_host)


@app.command()
def bridge(
    host: Annotated[str | None, typer.Option(help="Address to listen on; WHAGO_BRIDGE_URL's, else loopback.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port; WHAGO_BRIDGE_URL's, else 3130; 0 for a free one.")
    ] = None,
    url: Annotated[str | None, typer.Option(help="Where the backend reaches it, when not where it listens.")] = None,
    max_chips: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Chips of this process; 200 by default.")
    ] = None,
) -> None:
    """Run a WhatsApp bridge. It announces itself to the backend; start as many as you need."""
    from whago.main import bridge as command

    command.run(command.Place(host, port, url, max_chips))


@app.command("create-admin")
def create_admin(
    email: Annotated[str, typer.Option(prompt="E-mail")],
    password: Annotated[str, typer.Option(prompt="Password", hide_input=True, confirmation_prompt=True)],
    name: Annotated[str, typer.Option(help="Name shown on the pages.")] = "Administrator",
) -> None:
    """Make an administrator, in the database of WHAGO_DATABASE_URL."""
    from whago.main import accounts

    accounts.create_admin(email=email, password=password, name=name)


@app.command("rotate-keys")
def rotate_keys(
    check: Annotated[bool, typer.Option("--check", help="Only count what is still under an earlier secret.")] = False,
    data: Annotated[Path | None, typer.Option(help="Folder of a running whago up.", file_okay=False)] = None,
) -> None:
    """Seal stored secrets again under WHAGO_SECRET_KEY, so that WHAGO_SECRET_KEY_PREVIOUS can be dropped."""
    from whago.main import rotate_keys as command

    raise typer.Exit(command.run(check=check, data=data))


@app.command("simulate-provider")
def simulate_provider(
    host: Host = LOOPBACK,
    port: Port = 3120,
    admin_port: Port = 3121,
    socks_port: Annotated[int | None, typer.Option(help="A port for SOCKS5 alone; the first speaks both.")] = None,
    account: Annotated[list[str] | None, typer.Option(help="username:password; may be repeated.")] = None,
    target: Annotated[
        list[str] | None, typer.Option(help="HOST[:PORT]=127.x.y.z:PORT; HOST may be *.name; may be repeated.")
    ] = None,
    reach: Annotated[
        list[str] | None,
        typer.Option(help="HOST[:PORT] to dial for real, from this machine's own address; may be repeated."),
    ] = None,
    static: Annotated[int, typer.Option(min=0, help="How many static addresses to offer besides.")] = 0,
    country: Annotated[str, typer.Option(help="Country of the exit IPs.")] = "BR",
    usage_lag_s: Annotated[int, typer.Option(min=0, help="Seconds by which the usage API is late.")] = 0,
    overbill_percent: Annotated[
        Decimal, typer.Option(parser=Decimal, help="By how much the usage API exaggerates.")
    ] = Decimal(0),
) -> None:
    """Run the simulated provider: a real forward proxy whose exit IPs are loopback addresses."""
    from whago.main import simulate

    try:
        simulate.run(
            host=host,
            port=port,
            admin_port=admin_port,
            socks_port=socks_port,
            account=account,
            target=target,
            reach=reach,
            static=static,
            country=country,
            usage_lag_s=usage_lag_s,
            overbill_percent=overbill_percent,
        )
    except (ValueError, OSError) as error:
        raise StartError(f"The simulated provider cannot run: {error}") from None


@app.command("demo-traffic", hidden=True)
def demo_traffic(hold: Hold = False) -> None:
    """Let the demo's chips move bytes through the gateway."""
    from whago.main import demo_traffic as command

    _wait_to_begin(hold)
    command.run()


def _wait_to_begin(hold: bool) -> None:
    """``up`` loads every part while the database starts, and lets them begin when it is migrated."""
    if hold and sys.stdin is not None:
        sys.stdin.read()
