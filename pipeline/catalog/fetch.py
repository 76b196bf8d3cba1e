"""The catalog's section `fetch`: what to download, and from which services."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.catalog.time import Strict

ServiceName = Literal["aorc", "mrms", "mtarchive", "prism", "waterdata", "nldi"]


class FetchService(Strict):
    """Settings of a service that differ from the defaults."""

    url: str | None = Field(default=None, pattern=r"^https?://[^/]", description="base address")
    pause: float | None = Field(
        default=None, ge=0, le=3600, description="minimum time between requests [s]"
    )
    connections: int | None = Field(default=None, ge=1, le=32, description="simultaneous requests")


class FetchForcing(Strict):
    """The service that publishes a forcing's rasters."""

    service: Literal["aorc", "mrms", "mtarchive", "prism"] = Field(
        description="service that publishes it"
    )
    variable: str = Field(pattern=r"^\w+$", description="name at the service")


class Fetch(Strict):
    """Parts of the catalog that `domst fetch` downloads, and their services."""

    gauges: Literal["waterdata"] | None = Field(default=None, description="service of the records")
    watersheds: Literal["nldi"] | None = Field(default=None, description="service of the polygons")
    forcings: dict[str, FetchForcing] = Field(default={}, description="by forcing, its service")
    services: dict[ServiceName, FetchService] = Field(
        default={}, description="by service, settings that differ from the defaults"
    )
    retries: int = Field(default=5, ge=0, le=20, description="retries of a failed request")
    timeout: float = Field(
        default=60.0, gt=0, le=3600, description="longest wait for an answer [s]"
    )

    @property
    def used(self) -> set[ServiceName]:
        """Services in use; names and areas of watersheds come from the gauges' service."""
        used: set[ServiceName] = {forcing.service for forcing in self.forcings.values()}
        if self.gauges or self.watersheds:
            used.add("waterdata")
        return used | ({"nldi"} if self.watersheds else set())
