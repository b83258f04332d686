"""The command `parlour broker`.

This module owns the command's options and help text; it runs on the main thread. It must never decide anything: the
Broker does all the work.
"""

from __future__ import annotations

import click

from parlour.broker.settings import BrokerSettings
from parlour.runtime.options import ADDRESS, log_file_option, log_options, metrics_option

__all__ = ["broker"]


@click.command(epilog="\b\nExamples:\n  parlour broker --bind 0.0.0.0:6000\n  parlour broker --auto\n")
@click.option(
    "--bind",
    type=ADDRESS,
    default=BrokerSettings.bind,
    show_default=True,
    help="Address to listen at; the broker also uses the next two ports.",
)
@click.option(
    "--auto",
    is_flag=True,
    default=BrokerSettings.auto_rebalance,
    help="Rebalance by itself when a node joins or the fleet is uneven (else: `parlour rebalance`).",
)
@metrics_option
@log_options
@log_file_option
def broker(
    bind: str, auto: bool, metrics: str | None, log_format: str, log_level: str | None, log_file: str | None
) -> None:
    """Run a broker: it tells each client which node to go to, and watches the nodes.

    It keeps nothing on disk and learns the fleet from the nodes' reports, so you can stop and start it at any time.
    It ends on SIGTERM or Ctrl-C.
    """
    import gc
    from contextlib import ExitStack
    from queue import SimpleQueue

    from parlour.broker.service import Broker
    from parlour.runtime.descriptors import raise_limit
    from parlour.runtime.logs import configured_logging
    from parlour.runtime.signals import end_on_failure, exit_on_interrupt, wait_for_stop

    raise_limit()
    gc.freeze()  # the imported modules stay, so the collector need not scan them again
    arrived: SimpleQueue[int] = SimpleQueue()
    end_on_failure(arrived)
    service = Broker(BrokerSettings(bind=bind, auto_rebalance=auto))
    with exit_on_interrupt(), ExitStack() as opened:
        opened.enter_context(configured_logging("broker", log_format, log_level or "info", log_file))
        if metrics is not None:
            from parlour.broker.metrics import BrokerFigures  # here, because the library loads slowly and few need it
            from parlour.runtime.metrics import serving_metrics

            figures = BrokerFigures(service)
            opened.enter_context(serving_metrics("broker", metrics, figures.collect, figures.not_ready_reason))
        service.start()
        opened.callback(service.stop)
        wait_for_stop(f"broker ready at {service.address}", arrived)
