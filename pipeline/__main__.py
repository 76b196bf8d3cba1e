"""The commands `python -m pipeline run | plan | check | export | sample | fetch`, also `domst`."""

from __future__ import annotations

from collections.abc import Callable

import typer

from pipeline.commands import files, run, store
from pipeline.commands.options import epilog
from pipeline.commands.start import set_up

# Each command with an example, which its help ends with.
COMMANDS: dict[Callable[..., None], str] = {
    run.run: "domst run mybasins.yaml --store build/my.zarr --workers 4",
    run.plan: "domst plan mybasins.yaml --store build/my.zarr --map my.png",
    store.check: "domst check build/my.zarr",
    store.export: "domst export build/my.zarr --watershed 03539600 --out creek.nc",
    files.inspect: "domst inspect data/rain.nc data/basins.shp",
    files.init: "domst init data --out mybasins.yaml",
    files.schema: "domst schema > catalog.schema.json",
    files.certificates: "domst certificates build/tls",
    files.sample: "domst sample build/world --tiny",
    files.fetch: "domst fetch catalogs/iowa.yaml --dry-run",
}

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="From raw rasters, gauge records, polygons and terrain to one analysis-ready store.",
    epilog=epilog(),
)
for command, example in COMMANDS.items():
    app.command(epilog=epilog(example))(command)


if __name__ == "__main__":
    set_up()
    app()
