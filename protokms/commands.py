"""What people type: every command of `protokms`, with an example in its help."""

import json
from pathlib import Path
from typing import Annotated

import typer

from protokms import cli_bench, cli_demo, cli_lab, cli_manage, cli_sae, release

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,  # locals may hold keys
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A key management system for QKD networks, made of actors. A prototype for labs.",
)
store = typer.Typer(no_args_is_help=True, help="Look at, or give up, the store of one peer.")
keys = typer.Typer(no_args_is_help=True, help="Change the key that seals a node's store.")
app.add_typer(cli_lab.app, name="lab", help="Make and run networks of nodes on this machine.")
app.add_typer(cli_bench.app, name="bench")
app.add_typer(cli_sae.app, name="sae", help="Fetch keys as an application would (ETSI GS QKD 014).")
app.add_typer(cli_manage.session, name="session")
app.add_typer(cli_manage.route, name="route")
app.add_typer(cli_manage.peer, name="peer")
app.add_typer(cli_manage.link, name="link")
app.add_typer(store, name="store")
app.add_typer(keys, name="keys")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Config = Annotated[Path, typer.Option("--config", help="Configuration of the node.")]


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Take the options that stand before a command."""
    if version:
        typer.echo(release.version())
        raise typer.Exit


@app.command()
def demo(
    nodes: Annotated[int, typer.Option(min=2, max=16, help="How many nodes.")] = 3,
    shape: Annotated[
        cli_lab.Shape, typer.Option("--topology", help="How their quantum links lie.")
    ] = cli_lab.Shape.chain,
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
    from protokms import logs  # noqa: PLC0415 -- these load a whole node
    from protokms.demo import DemoFailed, run_demo  # noqa: PLC0415

    logs.configure("console", level="critical")
    try:
        result = run_demo(nodes, number, shape=shape.value)
    except DemoFailed as why:
        typer.echo(f"the demo failed: {why}", err=True)
        raise typer.Exit(1) from None
    if as_json:
        typer.echo(json.dumps(result.as_json(), indent=2))
    else:
        cli_demo.show(result)
    if not result.equal:
        raise typer.Exit(1)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def node(
    context: typer.Context,
    config: Annotated[Path, typer.Argument(help="Configuration of the node, TOML.")],
    check: Annotated[bool, typer.Option("--check", help="Check everything, run nothing.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what --check finds as JSON.")
    ] = False,
    process: Annotated[str, typer.Option(help="Which process of the node to run.")] = "core",
) -> None:
    """Run one node in the foreground.

    SIGTERM drains it and exits 0; SIGHUP reads certificates, deny list and directory again.

    Example: `protokms node lab/kms-1/node.toml --check`
    """
    # `cli.main` never comes here: it is listed for its help.
    from protokms.cli_node import run  # noqa: PLC0415

    args = [str(config), "--process", process, *context.args]
    args += ["--check"] * check + ["--json"] * as_json
    raise typer.Exit(run(args))


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
    from protokms.upkeep import UpkeepFailed, check_store  # noqa: PLC0415

    try:
        found = check_store(config, peer)
    except UpkeepFailed as why:
        typer.echo(str(why), err=True)
        raise typer.Exit(1) from None
    if as_json:
        typer.echo(json.dumps({"peer": peer, "rows": found}))
        return
    counts = ", ".join(f"{rows} {kind}" for kind, rows in found.items()) or "nothing is in it"
    typer.echo(f"store shared with {peer}: every row opens; {counts}")


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
    from protokms.upkeep import UpkeepFailed, reset_store  # noqa: PLC0415

    if not yes:
        typer.confirm(f"Destroy all bits and keys shared with {peer}?", abort=True, err=True)
    try:
        gone = reset_store(config, peer)
    except UpkeepFailed as why:
        typer.echo(str(why), err=True)
        raise typer.Exit(1) from None
    if as_json:
        typer.echo(json.dumps({"peer": peer, "rows": gone}))
        return
    typer.echo(f"{gone} rows of the store shared with {peer} are destroyed")


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
    from protokms.upkeep import UpkeepFailed, rotate_key  # noqa: PLC0415

    try:
        rows = rotate_key(config, new_key)
    except UpkeepFailed as why:
        typer.echo(str(why), err=True)
        raise typer.Exit(1) from None
    if as_json:
        typer.echo(json.dumps({"new_key": str(new_key), "rows": rows}))
        return
    typer.echo(f"{rows} sealed rows are under the key in {new_key} now; point node_key at it")
