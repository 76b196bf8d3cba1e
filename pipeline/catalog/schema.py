"""The published JSON schema of catalogs, with which editors complete and check them."""

from __future__ import annotations

import json

from pipeline.catalog.models import Catalog

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_text() -> str:
    """The JSON schema of a catalog, as in docs/catalog.schema.json.

    It describes each key and checks types and names. `load_catalog` checks what depends on several
    keys, `domst plan` what depends on the files.
    """
    schema = {"$schema": DIALECT, **Catalog.model_json_schema()}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
