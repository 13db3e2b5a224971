"""A service is asked for a backup: it answers once, with what is in it or why there is none."""

from pathlib import Path

import pytest
from sqlalchemy import select

from controller.jobs.asked_backups import AskedBackups
from controller.jobs.backups import Backups, Cabinet
from controller.runtime.requests import Requests
from desired_state.commands.backups import ask_for_backup
from desired_state.commands.errors import Conflict, NotFound
from desired_state.commands.requests import ask
from desired_state.model.ids import NodeName
from desired_state.model.request import RequestKind
from desired_state.queries.requests import follow_request, open_requests
from desired_state.store.backup.contents import PanelPart, PanelState, contents_from_json
from desired_state.store.backup.errors import BackupError
from desired_state.store.backup.folder import list_backups
from desired_state.store.backup.keys import read_keys
from desired_state.store.backup.settings import BackupSettings
from desired_state.store.tables.status import RequestProgressRow
from desired_state.store.unit_of_work import begin
from tests.builders import make_bundle, make_node_spec, make_tariff
from tests.data.rows import apply
from tests.stores import KEY

NL1, NL2 = NodeName("nl-1"), NodeName("nl-2")
KEYS = read_keys((KEY,))


class Service:
    """What answers requests for backups, beside panels that are asked."""

    def __init__(self, store, folder: Path) -> None:
        self.store, self.folder = store, folder
        self.fetched, self.stages, self.fault = [], [], ""
        settings = BackupSettings(folder=folder)
        backups = Backups(store, Cabinet(folder, KEYS[0], settings), self._fetch, store.clock)
        self.job = AskedBackups(store, backups, store.clock)

    async def _fetch(self, nodes, folder, limit_mib):
        self.fetched.append(tuple(nodes))
        async with self.store.reading() as session:
            rows = await session.scalars(select(RequestProgressRow))
            self.stages += [row.detail["stage"] for row in rows]
        if self.fault:
            raise BackupError(self.fault, hint="make room")
        return tuple(PanelPart(node, PanelState.FAILED, "away") for node in nodes)

    async def ask(self, nodes=None, **options) -> str:
        async with begin(self.store, "test") as work:
            return (await ask_for_backup(work, nodes, **options)).token


def size_of(path: str) -> int:
    return Path(path).stat().st_size


async def followed(store, token):
    async with store.reading() as session:
        return await follow_request(session, token)


@pytest.fixture
async def service(sqlite_store, tmp_path) -> Service:
    bundle = make_bundle(make_node_spec(), make_node_spec("nl-2"), make_tariff())
    await apply(sqlite_store, bundle)
    return Service(sqlite_store, tmp_path / "kept")


async def test_a_request_is_answered_once_with_what_is_in_the_backup(service) -> None:
    tokens = [await service.ask(), await service.ask((NL2,)), await service.ask(())]
    waiting = await followed(service.store, tokens[0])

    await service.job.run()
    await service.job.run()

    answers = [(await followed(service.store, token)).answers for token in tokens]
    assert (False, 3) == (
        waiting.is_done,
        len(list_backups(service.folder, service.store.clock.now())),
    )
    assert [(NL1, NL2), (NL2,), ()] == service.fetched
    assert "asking 2 panels for their databases" in service.stages
    assert [1, 1, 1] == [len(given) for given in answers]
    detail = answers[1][0].detail
    assert ("made", KEYS[0].id) == (detail["state"], detail["key"])
    assert detail["bytes"] == size_of(detail["backup"])
    assert [NL2] == [panel.node for panel in contents_from_json(detail["contents"]).panels]


async def test_a_backup_that_fails_is_answered_with_the_reason(service) -> None:
    token = await service.ask()
    service.fault = "no space left"

    await service.job.run()

    (answer,) = (await followed(service.store, token)).answers
    assert {"state": "failed", "error": "no space left", "hint": "make room"} == answer.detail


async def test_a_service_without_a_place_for_backups_says_so(service) -> None:
    token = await service.ask()

    await AskedBackups(service.store, None, service.store.clock).run()

    (answer,) = (await followed(service.store, token)).answers
    assert "failed" == answer.outcome
    assert "no place for backups" in answer.detail["error"]


async def test_no_node_is_asked_for_it(service) -> None:
    requests = Requests(service.store, service.store.clock, {})
    before = await requests.pressing(NL1)

    token = await service.ask()
    pressing = await requests.pressing(NL1)
    nodes = await requests.refresh()
    async with service.store.reading() as session:
        everywhere = await open_requests(session)
        here = await open_requests(session, node=NL1)

    view = await followed(service.store, token)
    assert frozenset() == nodes
    assert before == pressing
    assert ([token], ()) == ([one.token for one in everywhere], here)
    assert ("",) == view.waiting


async def test_asking_twice_with_one_token_asks_once(service) -> None:
    first = await service.ask((NL1,), token="mine")

    again = await service.ask((NL1,), token="mine")

    assert first == again == "mine"
    with pytest.raises(Conflict, match="another request"):
        await service.ask((NL2,), token="mine")
    with pytest.raises(NotFound, match="nl-9"):
        await service.ask((NodeName("nl-9"),))


async def test_a_backup_is_asked_for_by_its_own_command_alone(service) -> None:
    async with begin(service.store, "test") as work:
        with pytest.raises(Conflict, match="of no node"):
            await ask(work, RequestKind.BACKUP)
