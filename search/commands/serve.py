"""toolprm-serve: OpenAI's chat completions over HTTP."""

from __future__ import annotations

import argparse
import importlib.util
import os

from annotated_types import Gt

from toolprm_jax.command import Parser, add_fields, add_plan, command, number, whole_number
from toolprm_jax.progress import tell
from toolprm_jax.records import DataError

from .. import host
from ..core import SearchConfig
from .options import ANSWERING, add_devices, add_pair, load_searcher

_NEEDED = ("starlette", "uvicorn", "pydantic", "prometheus_client")
KEY = "TOOLPRM_API_KEY"


def parser() -> Parser:
    """The command's arguments."""
    out = Parser("toolprm-serve", "Serves a pair of models as OpenAI's chat completions.")
    add_pair(out)
    add_fields(out, SearchConfig, *ANSWERING, schema="strict", max_tokens=256)
    out.add_argument("--name", default="toolprm", help="of the model, as clients see it")
    out.add_argument("--host", default="127.0.0.1", help="address to listen on")
    out.add_argument("--port", type=whole_number(1, 65535), default=8000)
    out.add_argument("--api-key", help=f"that clients must send (default: {KEY}, if that is set)")
    out.add_argument("--rows", type=whole_number(1), default=8, help="queries at once")
    out.add_argument(
        "--longest", type=whole_number(16), default=1024, help="tokens of a prompt, at most"
    )
    out.add_argument(
        "--max-waiting", type=whole_number(0), default=64, help="queries that wait for a row"
    )
    out.add_argument(
        "--timeout", type=number(float, Gt(0)), default=120.0, help="seconds of a request"
    )
    out.add_argument(
        "--pool-size", type=whole_number(64), default=2048, help="as for toolprm-search"
    )
    out.add_argument(
        "--search-tree",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="keep the tree of every search, for clients that ask for it",
    )
    add_devices(out)
    add_plan(out, "the server", "a model")
    return out


def _plan(args: argparse.Namespace, config: SearchConfig) -> int:
    """Prints what the server needs."""
    # JAX takes seconds to import, and --help needs none of it.
    from toolprm_jax.plan import print_plan

    from ..methods import shared_config
    from .plan import model_facts, plan_engine, planned

    devices, policy, prm = planned(args)
    _, config = shared_config(args.method, config)
    sizes = {"rows": args.rows, "longest": args.longest}
    plan = plan_engine(policy, prm, config, **sizes, devices=devices)
    facts = {
        "server": f"{args.method}, N = {config.num_beams}, M = {config.beam_width}, "
        f"{args.rows} queries at once, prompts of up to {args.longest} tokens"
    }
    print_plan(plan, {**facts, **model_facts(policy, prm)})
    return 0


def _serve(args: argparse.Namespace) -> int:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise DataError(f"{missing[0]} is not installed: pip install 'toolprm-jax[serve]'")
    if args.schema == "prune":
        raise DataError("--schema: expected ignore or strict, found 'prune'")
    if args.tensor != 1:
        raise DataError("--tensor: the server's engine runs on one device")
    options = {name: getattr(args, name) for name in (*ANSWERING, "pool_size")}
    options["trace"] = args.search_tree
    if args.plan:
        return _plan(args, SearchConfig(**options))
    import uvicorn  # not for --help

    from .. import serve

    searcher = load_searcher(args, **options)
    engine = host.Engine(
        searcher.pair, searcher.base, method=args.method, rows=args.rows, longest=args.longest
    )
    tell(f"{args.rows} rows take {engine.bytes / 1e9:.1f} GB with the models; compiling")
    service = serve.Service(
        serve.Worker(engine, args.max_waiting),
        searcher,
        args.name,
        args.api_key or os.environ.get(KEY),
        args.timeout,
    )
    uvicorn.run(
        serve.make_app(service),
        host=args.host,
        port=args.port,
        log_level="info",
        timeout_keep_alive=60,  # longer than clients keep one, who find it closed otherwise
        timeout_graceful_shutdown=int(args.timeout) + 1,
    )
    return 0


main = command(parser, _serve)


if __name__ == "__main__":
    raise SystemExit(main())
