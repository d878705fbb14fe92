"""The dataset card for machines: Croissant 1.1 (MLCommons 2026), JSON-LD on schema.org, with RAI and PROV-O terms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lamina import __version__
from lamina.data.values import spdx_license
from lamina.kit.durable import sha256_file

FILE = "croissant.json"
_CONFORMS = ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"]
#: Terms of the vocabulary that stand without a prefix.
_PLAIN = (
    *("arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileProperty"),
    *("fileObject", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5"),
    *("parentField", "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate", "separator"),
    *("source", "subField", "transform"),
)
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "prov": "http://www.w3.org/ns/prov#",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    **{term: f"cr:{term}" for term in _PLAIN},
}
_TYPES = {
    pa.string(): "sc:Text",
    pa.bool_(): "sc:Boolean",
    pa.int64(): "cr:Int64",
    pa.int32(): "cr:Int32",
    pa.uint64(): "cr:UInt64",
    pa.uint32(): "cr:UInt32",
    pa.float64(): "cr:Float64",
    pa.float32(): "cr:Float32",
}
_SPLITS = {"train": "cr:TrainingSplit", "held-out": "cr:ValidationSplit"}


def write_croissant(corpus: Path, report: Mapping[str, Any], descriptions: Mapping[str, str]) -> None:
    """Write ``croissant.json`` for the Parquet files in ``corpus``/data; ``report`` is the corpus' report.json."""
    files = sorted((corpus / "data").glob("*.parquet"))
    card = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": "corpus",
        "conformsTo": _CONFORMS,
        "description": _description(report),
        "license": sorted(_license(name) for name in report["licenses"] if name != "unknown") or ["unknown"],
        "url": "README.md",
        "creator": {"@type": "sc:Organization", "name": f"a stack of Lamina {__version__}"},
        "datePublished": _latest(files),
        "version": "1.0.0",
        "inLanguage": [name for name in report["languages"] if name != "unknown"],
        "keywords": ["text", "language modelling"],
        **_responsible(report),
        **_provenance(report),
        "distribution": list(_distribution(files)),
        "recordSet": [_documents(pq.read_schema(files[0]), descriptions), _splits()],
    }
    (corpus / FILE).write_bytes(orjson.dumps({k: v for k, v in card.items() if v != []}, option=orjson.OPT_INDENT_2))


def _description(report: Mapping[str, Any]) -> str:
    return (
        f"{report['documents']:,} documents ({report['characters']:,} characters) of {len(report['sources'])} sources,"
        f" cleaned and without duplicates: {report['train']:,} to train on, {report['held_out']:,} held out."
        " Each document keeps its own licence."
    )


def _license(name: str) -> str:
    known = spdx_license(name)
    return known if " " in known or known.startswith("LicenseRef") else f"https://spdx.org/licenses/{known}"


def _latest(files: list[Path]) -> str:
    """The day on which the last document was collected."""
    found = [pc.max(pq.read_table(file, columns=["collected"]).column(0)).as_py() for file in files]
    return max(when for when in found if when is not None).date().isoformat() if any(found) else "1970-01-01"


def _responsible(report: Mapping[str, Any]) -> dict[str, Any]:
    kinds = sorted({facts["use"] for facts in report["sources"].values()})
    lost = [f"{reason}: {count:,} documents" for reason, count in report["dropped"].items()]
    return {
        "rai:dataCollection": "Read from the sources named under prov:wasDerivedFrom; robots.txt is obeyed, and"
        " licence and reservations of rights are kept with each document (columns license and rights).",
        "rai:dataCollectionType": kinds,
        "rai:dataPreprocessingProtocol": list(report["steps"]),
        "rai:dataLimitations": ["Left out: " + "; ".join(lost)] if lost else [],
        "rai:personalSensitiveInformation": "Texts may name people. What the steps found and masked stands in the"
        " ledger; documents can be taken out again with what resembles them.",
        "rai:dataReleaseMaintenancePlan": f"{report['forgotten']:,} documents were taken out on request."
        if report.get("forgotten")
        else "No document was taken out on request.",
    }


def _provenance(report: Mapping[str, Any]) -> dict[str, Any]:
    sources = [
        {
            "@type": "prov:Entity",
            "prov:label": name,
            "prov:location": facts["origin"] or facts["use"],
            "dct:license": facts["license"] or "unknown",
        }
        for name, facts in report["sources"].items()
    ]
    activity = {
        "@type": "prov:Activity",
        "prov:label": "collect, clean, deduplicate, split",
        "prov:wasAssociatedWith": {"@type": "prov:SoftwareAgent", "prov:label": f"Lamina {__version__}"},
    }
    return {"prov:wasDerivedFrom": sources, "prov:wasGeneratedBy": activity}


def _distribution(files: list[Path]) -> Iterator[dict[str, Any]]:
    for file in files:
        yield {
            "@type": "cr:FileObject",
            "@id": f"data/{file.name}",
            "name": file.name,
            "contentUrl": f"data/{file.name}",
            "contentSize": f"{file.stat().st_size} B",
            "encodingFormat": "application/vnd.apache.parquet",
            "sha256": sha256_file(file),
        }
    yield {
        "@type": "cr:FileSet",
        "@id": "documents-files",
        "name": "documents-files",
        "containedIn": [{"@id": f"data/{file.name}"} for file in files],
        "encodingFormat": "application/vnd.apache.parquet",
        "includes": "*.parquet",
    }


def _documents(schema: pa.Schema, descriptions: Mapping[str, str]) -> dict[str, Any]:
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"documents/{field.name}",
            "name": field.name,
            **({"description": descriptions[field.name]} if field.name in descriptions else {}),
            **_kind(field.type),
            "source": {"fileSet": {"@id": "documents-files"}, "extract": {"column": field.name}},
            **({"references": {"field": {"@id": "splits/name"}}} if field.name == "split" else {}),
        }
        for field in schema
    ]
    return {"@type": "cr:RecordSet", "@id": "documents", "name": "documents", "key": {"@id": "documents/id"}} | {
        "field": fields
    }


def _kind(kind: pa.DataType) -> dict[str, Any]:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return {**_kind(kind.value_type), "isArray": True, "arrayShape": "-1"}
    if pa.types.is_temporal(kind):
        return {"dataType": "sc:DateTime"}
    return {"dataType": _TYPES.get(kind, "sc:Text")}


def _splits() -> dict[str, Any]:
    fields = [("name", "sc:Text"), ("url", "sc:URL")]
    return {
        "@type": "cr:RecordSet",
        "@id": "splits",
        "name": "splits",
        "dataType": "cr:Split",
        "key": {"@id": "splits/name"},
        "field": [
            {"@type": "cr:Field", "@id": f"splits/{name}", "name": name, "dataType": kind} for name, kind in fields
        ],
        "data": [{"splits/name": name, "splits/url": url} for name, url in _SPLITS.items()],
    }
