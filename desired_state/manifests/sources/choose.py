"""The source that the settings name.

Callers: sync and the roles that host it. Not here: reading it.
"""

from desired_state.manifests.settings import SyncSettings
from desired_state.manifests.sources.directory import DirectorySource
from desired_state.manifests.sources.git import GitSource
from desired_state.manifests.sources.settled import Settled
from desired_state.manifests.sources.source import ManifestSource
from desired_state.model.errors import ConfigError


def choose_source(settings: SyncSettings) -> ManifestSource:
    """Make the source that the settings name; nothing is read yet.

    Raises:
        ConfigError: they name none.
    """
    if settings.directory is not None:
        return Settled(DirectorySource(settings.directory))
    if settings.location is not None:
        return GitSource(settings, settings.location)
    raise ConfigError(
        "there is no source of manifests",
        hint="set X3FLEET_SYNC__DIRECTORY or X3FLEET_SYNC__REPOSITORY",
    )
