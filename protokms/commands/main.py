"""What people type: every command of `protokms`, with an example in its help."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from protokms import release
from protokms.commands.key_kinds import Kind
from protokms.commands.later import later
from protokms.commands.shape import Shape
from protokms.commands.terminal import say, say_lines

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,  # locals may hold keys
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A key management system for QKD networks, made of actors. A prototype for labs.",
)
store = typer.Typer(no_args_is_help=True, help="Look at, or give up, the store of one peer.")
keys = typer.Typer(no_args_is_help=True, help="Make keys, or change the one that seals a store.")
app.add_typer(
    later("protokms.commands.lab", "app", "Make and run networks of nodes on this machine."),
    name="lab",
)
app.add_typer(
    later("protokms.commands.bench", "app", "Measure this machine; a benchmark is never a test."),
    name="bench",
)
app.add_typer(
    later("protokms.commands.sae", "app", "Fetch keys as an application would (ETSI GS QKD 014)."),
    name="sae",
)
app.add_typer(
    later(
        "protokms.commands.controller",
        "app",
        "Bring a network to a desired state, as a controller (ETSI GS QKD 015).",
    ),
    name="controller",
)
app.add_typer(
    later("protokms.commands.manage", "session", "Sessions: bits kept in store with distant KMSs."),
    name="session",
)
app.add_typer(
    later("protokms.commands.manage", "route", "Paths over trusted nodes, as a node sees them."),
    name="route",
)
app.add_typer(
    later("protokms.commands.manage", "peer", "The other KMSs of the network."), name="peer"
)
app.add_typer(
    later("protokms.commands.manage", "link", "The stores of a node, and what fills them."),
    name="link",
)
app.add_typer(
    later("protokms.commands.manage", "alarm", "What is wrong at a node, and what to do."),
    name="alarm",
)
app.add_typer(
    later("protokms.commands.manage", "policy", "Which SAEs have keys with which, and how many."),
    name="policy",
)
app.add_typer(store, name="store")
app.add_typer(keys, name="keys")
app.add_typer(
    later(
        "protokms.commands.enrol", "ca", "Issue, renew and revoke the certificates of a network."
    ),
    name="ca",
)
app.add_typer(
    later("protokms.commands.enrol", "directory", "Change and sign the directory."),
    name="directory",
)

T = TypeVar("T")
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Config = Annotated[Path, typer.Option("--config", help="Configuration of the node.")]


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Take the options that stand before a command."""
    if version:
        say(release.VERSION)
        raise typer.Exit


@app.command()
def demo(
    nodes: Annotated[int, typer.Option(min=2, max=16, help="How many nodes.")] = 3,
    shape: Annotated[
        Shape, typer.Option("--topology", help="How their quantum links lie.")
    ] = Shape.chain,
    number: Annotated[
        int, typer.Option("--keys", min=1, max=128, help="Keys for the two applications.")
    ] = 5,
    as_json: Json = False,
) -> None:
    """Three nodes in a row, two applications at its ends, equal keys: all in one command.

    The two applications are at the nodes farthest apart; the keys of distant ones are carried
    over the nodes between them. Everything lives in one process and one temporary directory,
    which is removed at the end.

    Example: `protokms demo --nodes 6 --topology ring`
    """
    from protokms.commands.demo import show  # noqa: PLC0415
    from protokms.lab.demo import DemoFailed, run_demo  # noqa: PLC0415
    from protokms.node import logs  # noqa: PLC0415 -- these load a whole node

    logs.configure("console", level="critical")
    try:
        result = run_demo(nodes, number, shape=shape.value)
    except DemoFailed as why:
        say(f"the demo failed: {why}", err=True)
        raise typer.Exit(1) from None
    if as_json:
        typer.echo(json.dumps(result.as_json(), indent=2))
    else:
        show(result)
    if not result.equal:
        raise typer.Exit(1)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def node(
    context: typer.Context,
    config: Annotated[Path, typer.Argument(help="Configuration of the node, TOML.")],
    *,
    check: Annotated[bool, typer.Option("--check", help="Check everything, run nothing.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what --check finds as JSON.")
    ] = False,
    process: Annotated[str, typer.Option(help="Which process of the node to run.")] = "",
    new: Annotated[
        bool, typer.Option("--new", help="Make the store: once, for a node that has never run.")
    ] = False,
) -> None:
    """Run one node in the foreground.

    A node starts on the store it has. If that is missing, the node does not start: what it shares
    with others would be lost. Only --new makes one, and never beside another.

    SIGTERM drains it and exits 0. SIGHUP, or `protokms node reload FILE`, reads certificates, lists
    and limits of `[etsi014]` and `[etsi015]`, the level of the log and the directory again, in all
    processes of the node; the latter says what is applied, what is refused, and what needs a
    restart. `protokms node status FILE` says of each process where it runs, and how its actors are.

    Exit codes: 0 drained; 1 cannot start now (an address, a port or room is not to be had, the
    store is locked or missing): start it again; 2 misused; 70 must not go on: start it again;
    78 a configuration, or a file it names, with which it cannot run: no restart helps.
    With --check: 0 all is well, 1 it is not.

    Example: `protokms node lab/kms-1/node.toml --check`
    """
    # `cli.main` never comes here: it is listed for its help.
    from protokms.commands.node import run  # noqa: PLC0415

    args = [str(config), *context.args]
    args += ["--process", process] if process else []
    args += ["--check"] * check + ["--json"] * as_json + ["--new"] * new
    raise typer.Exit(run(args))


@app.command()
def openapi(
    config: Annotated[
        Path, typer.Option("--config", help="Configuration of the node, or of its front end.")
    ],
) -> None:
    """Print the OpenAPI description of ETSI GS QKD 014, with the limits of a node, as JSON.

    The node serves the same at /openapi.json. It need not run.

    Example: `protokms openapi --config lab/kms-1/node.toml`
    """
    from etsi.gs014 import openapi as description  # noqa: PLC0415
    from protokms.config.load import load_any  # noqa: PLC0415
    from protokms.config.tables import ConfigError  # noqa: PLC0415

    try:
        options = load_any(config).etsi014
    except (ConfigError, OSError) as why:
        say_lines(str(why), err=True)
        raise typer.Exit(1) from None
    if options is None:
        say(f"{config} has no [etsi014]: SAEs are served by another process", err=True)
        raise typer.Exit(1)
    say(description.document(options, f"https://{options.bind}").decode())


@store.command("check")
def store_check(
    peer: Annotated[str, typer.Argument(help="Name of the peer KMS.")],
    config: Config,
    as_json: Json = False,
) -> None:
    """Read every row of the store shared with a peer, and tell what is in it.

    The node must not be running.

    Example: `protokms store check kms-2 --config lab/kms-1/node.toml`
    """
    from protokms.node import upkeep  # noqa: PLC0415

    found = _kept_up(lambda: upkeep.check_store(config, peer))
    counts = ", ".join(f"{rows} {kind}" for kind, rows in found.items()) or "nothing is in it"
    text = f"store shared with {peer}: every row opens; {counts}"
    say(json.dumps({"peer": peer, "rows": found}) if as_json else text)


@store.command("reset")
def store_reset(
    peer: Annotated[str, typer.Argument(help="Name of the peer KMS.")],
    config: Config,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Destroy everything in the store shared with a peer: its bits, and keys not yet fetched.

    The node must not be running. The other end notices, and both begin a new epoch.

    Example: `protokms store reset kms-2 --config lab/kms-1/node.toml`
    """
    from protokms.node import upkeep  # noqa: PLC0415

    if not yes:
        typer.confirm(f"Destroy all bits and keys shared with {peer}?", abort=True, err=True)
    gone = _kept_up(lambda: upkeep.reset_store(config, peer))
    text = f"{gone} rows of the store shared with {peer} are destroyed"
    say(json.dumps({"peer": peer, "rows": gone}) if as_json else text)


@keys.command("make")
def keys_make(
    kind: Annotated[Kind, typer.Argument(help="What it is for.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Made with mode 0600.")],
    as_json: Json = False,
) -> None:
    """Draw a key and write it to a new file; of `signing` and `curve` print the public half.

    `signing`: a node or a CA signs with it. `curve`: of one process. `process`: seals bits between
    core and another process. `link`: authenticates datagrams of a link. `node`: seals the store.

    Example: `protokms keys make curve kms-1/curve.key`
    """
    from protokms.commands import enrol  # noqa: PLC0415 -- heavy, and only this command needs it

    enrol.keys_make(kind, file, as_json=as_json)


@keys.command("rotate")
def keys_rotate(
    config: Config,
    new_key: Annotated[
        Path, typer.Option("--new-key", help="File of the new node key; made when missing.")
    ],
    as_json: Json = False,
) -> None:
    """Seal the store of a node under a new node key.

    The node must not be running. Afterwards let `node_key` in its configuration say where the
    new key is, and destroy the old one.

    Example: `protokms keys rotate --config lab/kms-1/node.toml --new-key lab/kms-1/node2.key`
    """
    from protokms.node import upkeep  # noqa: PLC0415

    rows = _kept_up(lambda: upkeep.rotate_key(config, new_key))
    text = f"{rows} sealed rows are under the key in {new_key} now; point node_key at it"
    say(json.dumps({"new_key": str(new_key), "rows": rows}) if as_json else text)


def _kept_up(do: Callable[[], T]) -> T:
    """Do something to the store of a stopped node; exit 1, and say why, if it cannot be done."""
    from protokms.node.upkeep import UpkeepFailed  # noqa: PLC0415

    try:
        return do()
    except UpkeepFailed as why:
        say_lines(str(why), err=True)
        raise typer.Exit(1) from None
