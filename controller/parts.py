"""What a service has beside its loop over nodes: metrics, health, alerts, retention, webhooks.

Each part is built from its own settings and added to a daemon before that runs. Callers: cli roles, and
tests that want a service like theirs. Not here: the loop (`daemon`), what a part does.
"""

from controller.daemon import Daemon, Extra
from controller.jobs.alerts import Alerts
from controller.jobs.asked_backups import AskedBackups
from controller.jobs.backups import Backups, Cabinet
from controller.jobs.capacity import SAMPLED_EVERY_S, CapacitySamples
from controller.jobs.retention import Retention
from controller.jobs.snapshot import FleetView
from controller.jobs.webhooks import WebhookSender
from controller.runtime.schedule import Job
from controller.settings import MetricsSettings, ServiceSettings
from controller.telemetry.collector import FleetCollector
from controller.telemetry.endpoints import Exposition, Health, TelemetryServer, make_app

ASKED_BACKUPS = "asked backups"
ASKED_EVERY_S = 300.0
"""A request wakes the job; this is for one that nobody heard of."""


def equip(daemon: Daemon, settings: ServiceSettings, cabinet: Cabinet | None = None) -> None:
    """Add every part that the settings ask for; `cabinet`: where backups go, None for nowhere."""
    controller = daemon.controller
    store, clock, lease = controller.store, controller.clock, controller.lease
    if settings.metrics.enabled:
        daemon.extras.append(serve_telemetry(daemon, settings.metrics))
    sender = WebhookSender(store, settings.webhooks, clock, lambda: lease.leads)
    daemon.extras.append(Extra("webhooks", sender.run))
    alerts = Alerts(store, settings.alerts, clock, told=sender.wake)
    daemon.jobs.append(Job("alerts", settings.alerts.every_s, alerts.run, leads=True))
    capacity = CapacitySamples(store, clock)
    daemon.jobs.append(Job("capacity", SAMPLED_EVERY_S, capacity.run, leads=True))
    retention = Retention(store, settings.retention, clock, controller.steps.is_doubtful)
    daemon.jobs.append(Job("retention", settings.retention.every_s, retention.run, leads=True))
    _add_backups(daemon, cabinet)


def _add_backups(daemon: Daemon, cabinet: Cabinet | None) -> None:
    """Make backups when they are due, and when somebody asks; without a place for them, say so."""
    controller = daemon.controller
    store, clock = controller.store, controller.clock
    backups = None
    if cabinet is not None:
        backups = Backups(store, cabinet, controller.exports.fetch, clock)
        if cabinet.settings.every_s:
            every_s = cabinet.settings.check_s
            daemon.jobs.append(Job("backups", every_s, backups.run, leads=True))
    asked = AskedBackups(store, backups, clock)
    daemon.jobs.append(Job(ASKED_BACKUPS, ASKED_EVERY_S, asked.run, leads=True))
    daemon.asked.append(ASKED_BACKUPS)


def serve_telemetry(daemon: Daemon, where: MetricsSettings) -> Extra:
    """Serve metrics and health on a port of their own."""
    controller = daemon.controller
    collector = FleetCollector(daemon.marks, controller.lease.nodes, controller.clock.now)
    view = FleetView(controller.store, collector.show, controller.clock.now)
    exposition = Exposition(prepare=(daemon.sample, view.refresh))
    health = Health(
        alive={"event loop": daemon.loop_fault},
        ready={"database": daemon.database_fault},
    )
    server = TelemetryServer(make_app(exposition, health), where.host, where.port)

    async def serve() -> None:
        with exposition.showing(collector):
            await server.run()

    return Extra("metrics", serve)
