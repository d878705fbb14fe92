"""Inputs made to harm, or broken on the way: what they are, and what has to come of each."""

from __future__ import annotations

import bz2
import gzip
import importlib.util
import io
import json
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

_spec = importlib.util.spec_from_file_location("office_files", Path(__file__).with_name("office_files.py"))
assert _spec is not None
assert _spec.loader is not None
_office = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_office)
zipped, relations, root = _office.zipped, _office.relations, _office.root
W = f'xmlns:w="{_office.W}"'

STORY = (
    "The lighthouse at Grane was built in 1871 by Josef Hartung, who had seen two ships go down in one winter. "
    "It burned whale oil for eleven years, and colza oil after that, until the keeper asked for paraffin. "
)


@dataclass(frozen=True)
class Case:
    """``put``: the bytes of the file ``name``, or what puts something there; ``keeps``: how the texts of its documents
    begin; ``says``: words of the one reason that is listed for it ("": none may be)."""

    name: str
    put: bytes | str | Callable[[], bytes | str] | Callable[[Path], None]
    keeps: tuple[str, ...] = ()
    says: str = ""

    def write(self, folder: Path) -> None:
        """Put it into ``folder``."""
        place = folder / self.name
        place.parent.mkdir(parents=True, exist_ok=True)
        if callable(self.put):
            made = self.put(place) if self.put.__code__.co_argcount else self.put()  # type: ignore[call-arg,attr-defined]
        else:
            made = self.put
        if made is not None:
            place.write_bytes(made.encode() if isinstance(made, str) else made)


def overlapping() -> bytes:
    """Two names for the same bytes, as in "A better zip bomb" (Fifield 2019)."""
    data = bytearray(zipped({"a.txt": "Good." * 99, "b.txt": "x"}))
    second = data.rfind(b"PK\x01\x02")
    data[second + 42 : second + 46] = struct.pack("<I", 0)
    return bytes(data)


def locked_zip() -> bytes:
    data = bytearray(zipped({"a.txt": "Good."}))
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.find(mark) + place] |= 1
    return bytes(data)


def bomb_of(name: str, mebibytes: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as out:
        out.writestr(name, bytes(mebibytes << 20))
    return buffer.getvalue()


def tar_of_links() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as out:
        for name, kind in (("passwd.txt", tarfile.SYMTYPE), ("hard.txt", tarfile.LNKTYPE), ("null", tarfile.CHRTYPE)):
            about = tarfile.TarInfo(name)
            about.type, about.linkname = kind, "/etc/passwd"
            out.addfile(about)
        good = tarfile.TarInfo("good.txt")
        good.size = 5
        out.addfile(good, io.BytesIO(b"Good."))
    return buffer.getvalue()


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
LAUGHS = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY l0 "ha">{LAUGHS}]>'
SPY = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'


def docx(document: str | None, **more: bytes) -> bytes:
    parts: dict[str, str | bytes] = {"_rels/.rels": root("word/document.xml"), "docProps/core.xml": _office.CORE}
    if document is not None:
        parts["word/document.xml"] = document
    return bytes(zipped(parts | {f"word/{name}": data for name, data in more.items()}))


def body(words: str) -> str:
    return f"<w:document {W}><w:body><w:p><w:r><w:t>{words}</w:t></w:r></w:p></w:body></w:document>"


def xlsx(rows: str) -> bytes:
    spaces = f'xmlns="{_office.S}" xmlns:r="{_office.R}"'
    return bytes(
        zipped(
            {
                "_rels/.rels": root("xl/workbook.xml"),
                "xl/workbook.xml": f'<workbook {spaces}><sheets><sheet name="S" r:id="r0"/></sheets></workbook>',
                "xl/_rels/workbook.xml.rels": relations(r0=("worksheet", "sheets/0.xml")),
                "docProps/core.xml": _office.CORE,
                "xl/sheets/0.xml": _office._sheet(rows),
            }
        )
    )


def cell(place: str, words: str) -> str:
    return f'<c r="{place}" t="inlineStr"><is><t>{words}</t></is></c>'


def notebook() -> str:
    outputs = [{"output_type": "stream", "text": "x" * (24 << 20)}]
    cells = [{"cell_type": "markdown", "source": "Good."}, {"cell_type": "code", "source": "1", "outputs": outputs}]
    return json.dumps({"nbformat": 4, "metadata": {}, "cells": cells})


def parquet(*, cut: int = 0, damage: bool = False) -> bytes:
    buffer = io.BytesIO()
    table = pa.table({"text": [f"Good {n}." for n in range(4)]})
    pq.write_table(table, buffer, row_group_size=2, compression="none", write_page_checksum=True, use_dictionary=False)
    data = bytearray(buffer.getvalue())
    if damage:
        place = data.find(b"Good 0.\x07")
        data[place : place + 4] = b"Evil"
    return bytes(data[: len(data) - cut])


def arrow_stream() -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, pa.schema([("text", pa.string())])) as out:
        for n in range(3):
            out.write_batch(pa.record_batch({"text": [f"Good {n}." + "x" * 500]}))
    return bytes(sink.getvalue())[:-600]


def odt_locked() -> bytes:
    manifest = (
        '<m:manifest xmlns:m="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0">'
        '<m:file-entry m:full-path="content.xml" m:media-type="text/xml"><m:encryption-data/></m:file-entry>'
        "</m:manifest>"
    )
    parts = {
        "mimetype": "application/vnd.oasis.opendocument.text",
        "content.xml": "\x8f\x01",
        "META-INF/manifest.xml": manifest,
    }
    return bytes(zipped(parts))


def dump() -> str:
    page = "<page><title>T{0}</title><ns>0</ns><id>{0}</id><revision><id>1</id><text>Good {0}.</text></revision></page>"
    head = '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/"><siteinfo></siteinfo>'
    return head + page.format(1) + page.format(2)[:-60]


def unreadable(place: Path) -> None:
    place.write_text("x")
    place.chmod(0)


FILES = [
    Case("bomb.zip", lambda: bomb_of("a.txt", 300), (), "unpacks to more than the limit, at a.txt"),
    Case("overlap.zip", overlapping, (), "overlaps another"),
    Case("locked.zip", locked_zip, (), "is encrypted"),
    Case(
        "slip.zip", zipped({"../../etc/cron.txt": "x", "good.txt": "Good."}), ("Good.",), "leads outside of the archive"
    ),
    Case("links.tar.gz", tar_of_links, ("Good.",), "is a link or a device"),
    Case("cut.tar", lambda: gzip.decompress(tar_of_links())[:2600], ("Good.",), "a header is damaged or cut short"),
    Case("dolls.zip", zipped({"a.zip": zipped({"b.zip": zipped({"c.txt": "x"})})}), (), "of the kind '.zip'"),
    Case("words.zip", b"PK\x03\x04 and then nothing", (), "is damaged, or no archive"),
    Case("laughs.xml", f"{LAUGHS}<x>&l9;</x>", (), "declares XML entities"),
    Case(
        "spy.docx", docx(f'<?xml version="1.0"?>{SPY}{body("&e;")}'), (), "declares XML entities in word/document.xml"
    ),
    Case("hollow.docx", docx(None), (), "lacks the entry word/document.xml"),
    Case("swollen.docx", lambda: docx(body("Good."), media=bytes(9 << 20)), (), "unpacks over 200-fold"),
    Case(
        "million rows.xlsx",
        lambda: xlsx("".join(f'<row r="{n}"/>' for n in range(1_000_000)) + f"<row>{cell('A1', 'Good.')}</row>"),
        ("Good.",),
    ),
    Case(
        "far.xlsx",
        xlsx(f'<row r="1">{cell("A1", "Good.")}</row><row r="1048576">{cell("XFD1048576", "Far.")}</row>'),
        ("Good.",),
    ),
    Case("locked.odt", odt_locked, (), "is encrypted"),
    Case("old.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), (), "old"),
    Case("deep.rtf", b"{\\rtf1 " + b"{" * 200_000 + b"Good." + b"}" * 200_000 + b"}", (), "is nested over 1,000 deep"),
    Case("bomb.ipynb", notebook, ("Good.",)),
    Case("no cells.ipynb", "[1, 2]", (), "is no notebook"),
    Case("cut dump.xml", dump, ("Good 1.",), "end"),
    Case(
        "endless line.jsonl",
        lambda: b'{"text": "' + b"x" * (17 << 20) + b'"}\n{"text": "Good."}',
        ("Good.",),
        "the limit is 16 MiB",
    ),
    Case("deep array.json", "[" * 100_000, (), "is not JSON"),
    Case("deep.jsonl", '{"a":' * 5_000 + '1\n{"text": "Good."}', ("Good.",), "is not JSON"),
    Case("burst.json", lambda: "[" + "[]," * 10_000_000 + "[]]", (), "MiB of memory as a whole"),
    Case("program.js", "while (true) fetch('/')", (), "is a program in JavaScript"),
    Case("cut.parquet", parquet(cut=20), (), "is no readable Parquet file"),
    Case("flipped.parquet", parquet(damage=True), ("Good 2.", "Good 3."), "CRC checksum verification failed"),
    Case("cut.arrow", arrow_stream, ("Good 0.", "Good 1."), "damaged"),
    Case("nul.csv", b"text,n\n" + b"Good.,1\n" * 700 + b"b\0d,2\n", ("Good.",) * 700 + ("b",)),
    Case("open quote.csv", 'text,n\nGood.,1\n"open,2\n' + "x,3\n" * 9, ("Good.",), "is a quotation mark left open?"),
    Case("binary.txt", b"\x00\x01\x02" * 99, (), "is binary, not text"),
    Case("two ages.txt", ("Grüße. " * 9).encode() + ("Grüße. " * 9).encode("cp1252"), (), "is not UTF-8"),
    Case("no mark.txt", "Good.".encode("utf-16-le"), (), "is binary, not text"),
    Case("lying.txt", b"%PDF-1.7\n%\xe2\xe3", (), "is a PDF file"),
    Case("empty.md", b"", (), "is empty"),
    Case("mark alone.txt", b"\xef\xbb\xbf", (), "is empty"),
    Case("halves.jsonl", b'{"text": "Good. \\ud800"}\n{"text": "Good."}', ("Good.",), "is not JSON"),
    Case(
        "cut.jsonl.gz",
        gzip.compress(b'{"text": "Good."}\n' * 50 + os.urandom(4000))[:-2000],
        ("Good.",) * 50,
        "is cut short",
    ),
    Case("bomb.txt.gz", lambda: gzip.compress(bytes(300 << 20), 1), (), "unpacks to more than"),
    Case("noise.jsonl.zst", b"\x28\xb5\x2f\xfd" + b"\xff" * 90, (), "is damaged"),
    Case("noise.txt.bz2", bz2.compress(b"Good." * 99)[:-9] + b"123456789", (), "is damaged"),
    Case("two\nlines.txt", "Good.", ("Good.",)),
    Case(os.fsdecode(b"caf\xe9.txt"), "Good.", ("Good.",)),
    Case("pipe.txt", lambda place: os.mkfifo(place), (), "is a pipe, a socket or a device"),
    Case("zeros.txt", lambda place: place.symlink_to("/dev/zero"), (), "is a pipe, a socket or a device"),
    Case("circle", lambda place: place.symlink_to(place.parent), (), "is a link to a folder"),
    Case("itself.txt", lambda place: place.symlink_to(place.name), (), "is a link to what cannot be read"),
]
if os.geteuid():
    FILES.append(Case("secret.txt", unreadable, (), "Permission denied"))

CONTAINER = '<container><rootfiles><rootfile full-path="a.opf"/></rootfiles></container>'
CHAPTER = "<html><body><p>Good.</p></body></html>"


def epub(spine: str = '<itemref idref="a"/>', *, package: str = "", **more: str | bytes) -> bytes:
    items = '<item id="a" href="a.html"/><item id="x" href="../../../etc/passwd"/>'
    told = package or f"<package><manifest>{items}</manifest><spine>{spine}</spine></package>"
    parts: dict[str, str | bytes] = {"META-INF/container.xml": CONTAINER, "a.opf": told, "a.html": CHAPTER}
    return bytes(zipped(parts | {name.replace("__", "/"): data for name, data in more.items()}))


DRM = (
    '<encryption xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><EncryptedData xmlns="http://x">'
    '<EncryptionMethod Algorithm="http://www.w3.org/2001/04/xmlenc#aes256-cbc"/><CipherData>'
    '<CipherReference URI="a.html"/></CipherData></EncryptedData></encryption>'
)


def pdf(*objects: str, trailer: str = "") -> bytes:
    data, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(data))
        data += f"{number} 0 obj\n{content}\nendobj\n".encode("latin-1")
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R {trailer} >>\nstartxref\n{len(data)}\n%%EOF"
    return data + b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(objects) + 1, table) + end.encode("latin-1")


CATALOG, PAGES = "<< /Type /Catalog /Pages 2 0 R >>", "<< /Type /Pages /Kids [3 0 R] /Count 1 >>"
PAGE = "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 300] /Contents 4 0 R /Resources << {0} >> >>"
WORDS = "BT /F 12 Tf 20 200 Td (Good.) Tj ET"
FONT = "/Font << /F << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >>"


def stream(content: str, more: str = "") -> str:
    return f"<< /Length {len(content)} {more} >>\nstream\n{content}\nendstream"


GOOD_PDF = pdf(CATALOG, PAGES, PAGE.format(FONT), stream(WORDS))
LOCK = f"/Encrypt << /Filter /Standard /V 1 /R 2 /O <{'41' * 32}> /U <{'42' * 32}> /P -4 >> /ID [<00><00>]"


def pdf_bomb() -> bytes:
    """A page whose content unpacks to spaces without end."""
    packed = zlib.compress(b" " * (200 << 20), 1).decode("latin-1")
    return pdf(CATALOG, PAGES, PAGE.format(FONT), stream(packed, "/Filter /FlateDecode"))


BOOKS = [
    Case("good.pdf", GOOD_PDF, ("Good.",)),
    Case(
        "slip.epub", lambda: epub('<itemref idref="x"/><itemref idref="a"/>'), ("Good.",), "leads outside of the book"
    ),
    Case("drm.epub", lambda: epub(**{"META-INF__encryption.xml": DRM}), (), "is encrypted (DRM)"),
    Case("no container.epub", zipped({"a.html": CHAPTER}), (), "lacks the entry META-INF/container.xml"),
    Case("laughs.epub", lambda: epub(package=f"{LAUGHS}<package>&l9;</package>"), (), "declares XML entities in a.opf"),
    Case("again and again.epub", lambda: epub('<itemref idref="a"/>' * 5_000), ("Good.",)),
    Case("swollen.epub", lambda: epub(zeros=bytes(9 << 20)), (), "unpacks over 200-fold"),
    Case("a book in disguise.epub", GOOD_PDF, (), "it is a PDF file"),
    Case("half.epub", lambda: epub()[:-150], (), "is no readable EPUB"),
    Case(
        "locked.pdf",
        pdf(CATALOG, PAGES, PAGE.format(FONT), stream(WORDS), trailer=LOCK),
        (),
        "is protected by a password",
    ),
    Case(
        "pictures.pdf",
        pdf(CATALOG, PAGES, PAGE.format(""), stream("0 0 100 100 re f")),
        (),
        "no text layer on 1 of 1 pages",
    ),
    Case("half.pdf", b"%PDF-1.4\n1 0 obj\n<< /Type /Cat", (), "is no readable PDF"),
    Case("circle.pdf", pdf(CATALOG, "<< /Type /Pages /Kids [2 0 R 2 0 R] /Count 2 >>"), (), "no text layer on"),
    Case("bomb.pdf", pdf_bomb, (), "no text layer on 1 of 1 pages"),
    Case("empty.txt", b"\n\n", (), "is empty"),
    Case("cover.jpg", b"\xff\xd8\xff", (), "are no books that this source reads"),
]

HEAD = "From: Ann North <ann@example.org>\nSubject: Lamps\nMessage-ID: <{0}@x>\n"
FROM = "From ann@example.org Wed May  1 12:00:00 2024\n"


def nested_mail() -> str:
    parts = "".join(f'Content-Type: multipart/mixed; boundary="b{n}"\n\n--b{n}\n' for n in range(2_000))
    return HEAD.format("deep") + parts + "Content-Type: text/plain\n\nGood."


MAIL = [
    Case(
        "never closed.eml", HEAD.format(1) + 'Content-Type: multipart/mixed; boundary="b"\n\n--b\n\nGood.', ("Good.",)
    ),
    Case("wrong boundary.eml", HEAD.format(2) + 'Content-Type: multipart/mixed; boundary="b"\n\nGood.', ("Good.",)),
    Case("bad base64.eml", HEAD.format(3) + "Content-Transfer-Encoding: base64\n\nR29v!!!ZC4=", ("Good.",)),
    Case("unknown charset.eml", HEAD.format(4) + 'Content-Type: text/plain; charset="klingon"\n\nGood.', ("Good.",)),
    Case("nul.eml", HEAD.format(5).replace("Lamps", "La\0mps") + "\nGo\0od.", ("Go",)),
    Case("deep.eml", nested_mail, (), "parts within parts, too deeply"),
    Case(
        "huge.mbox",
        lambda: (
            f"{FROM}{HEAD.format(6)}\n{'x' * 79}\n" + f"{'y' * 79}\n" * 430_000 + f"\n{FROM}{HEAD.format(7)}\nGood.\n"
        ),
        ("Good.",),
        "the limit of a message is 32 MiB",
    ),
    Case(
        "in a circle.mbox",
        "".join(f"{FROM}{HEAD.format(n)}References: <{(n + 1) % 3}@x>\n\nGood.\n\n" for n in range(3)),
        ("Good.",) * 3,
    ),
    Case("no box.mbox", "Good.\n" + FROM, (), "is no mailbox"),
    Case("outlook.pst", b"!BDN" + bytes(600), (), "is a file of Outlook"),
]


def page(text: str = STORY * 3, head: str = "") -> str:
    return f"<html><head><title>x</title>{head}</head><body><article><p>{text}</p></article></body></html>"


def warc(kind: str, place: str, data: bytes, length: int | None = None) -> bytes:
    size = len(data) if length is None else length
    head = f"WARC/1.1\r\nWARC-Type: {kind}\r\nWARC-Target-URI: https://warc.example/{place}\r\n"
    return f"{head}Content-Length: {size}\r\n\r\n".encode() + data + b"\r\n\r\n"


def answered(place: str, length: int | None = None) -> bytes:
    return warc("response", place, b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + page().encode(), length)


def damaged_member() -> bytes:
    members = [bytearray(gzip.compress(answered(f"damaged/{n}"))) for n in range(3)]
    members[1][20:40] = b"\xff" * 20
    return b"".join(map(bytes, members))


SAVED = [
    Case("25 MiB.html", lambda: b"<p>" + b"word " * (5 << 20), (), "more than the limit of 20 MiB"),
    Case("deep.html", "<div>" * 50_000 + page(), (STORY[:30],)),
    Case("program.html", b"\x7fELF" + bytes(900), (), "is a program, not a page"),
    Case("utf-7.html", "<meta charset=utf-7>+ADw-script+AD4-" + page(), (), "an encoding that is not read"),
    Case("bomb.html.gz", lambda: gzip.compress(bytes(40 << 20), 1), (), "more than the limit of 20 MiB"),
    Case("nothing.html", "<html><body><nav>Home</nav></body></html>", (), "has no main text"),
    Case("wall.html", page("Please enable JavaScript and cookies to continue"), (), "shows a wall"),
    Case(
        "lengths.warc",
        answered("long", 90_000) + answered("short", 99) + answered("lengths"),
        (STORY[:30],),
        "wrong length",
    ),
    Case("member.warc.gz", damaged_member, (STORY[:30],) * 2, "is damaged"),
    Case(
        "no http.warc",
        warc("response", "no-http", b"GET / HTTP/1.1\r\n\r\n") + answered("http"),
        (STORY[:30],),
        "is no HTTP response",
    ),
]

POST = {"id": "1", "author": "ann", "text": "Good."}


def slack(*messages: Any, users: Any = ()) -> bytes:
    listed = {"users.json": list(users), "channels.json": [{"id": "C1", "name": "general"}]}
    parts = listed | {"general/2024-01-01.json": list(messages)}
    return bytes(zipped({name: json.dumps(value) for name, value in parts.items()}))


def said(ts: Any, text: Any, user: Any = "U1", **more: Any) -> dict[str, Any]:
    return {"type": "message", "user": user, "text": text, "ts": ts} | more


def packed(parts: Mapping[str, Any]) -> bytes:
    return bytes(zipped({n: v if isinstance(v, str | bytes) else json.dumps(v) for n, v in parts.items()}))


TWEETS = 'window.YTD.tweets.part0 = [{"tweet": 3}, null, {"tweet": {"full_text": "Good.", "id_str": "1"}}]'

EXPORTS = [
    Case("deleted users.zip", slack(said("1.0", "Good <@U9>.", None), said("2.0", "Good.", {"id": 3})), ("",)),
    Case(
        "odd messages.zip",
        slack(None, 3, "x", [], {}, said(None, {"a": 1}), said("3", "Good.", thread_ts={"x": 1})),
        ("Good.",),
    ),
    Case("export bomb.zip", lambda: bomb_of("a.json", 300), (), "past the cap"),
    Case("export slip.zip", packed({"../../cron.json": [POST], "a.json": [POST]}), (), "unsafe name"),
    Case("program.zip", packed({"data/tweets.js": "fetch('https://example.org/')"}), (), "is a program in JavaScript"),
    Case(
        "tweets.zip",
        packed({"data/tweets.js": TWEETS}),
        ("Good.",),
        "deleted, or hold no text",
    ),
    Case(
        "result.json",
        json.dumps(
            {
                "chats": {
                    "list": [None, {"messages": 7}, {"id": 1, "messages": [{"id": 1, "text": "Good.", "from": "a"}]}]
                }
            }
        ),
        ("Good.",),
    ),
    Case(
        "channel.json",
        json.dumps(
            {"guild": None, "channel": [], "messages": [None, {"content": 3}, {"content": "Good.", "author": []}]}
        ),
        ("Good.",),
        "deleted, or hold no text",
    ),
    Case("nan.json", '[{"id": "1", "text": "a", "score": NaN}]', (), "is not JSON"),
    Case("Chat.txt", "99/99/99, 99:99 - Ann: Good.\n1/1/24, 9:00 - \n1/1/24, 9:00 - Ann:\n", ("Good.",)),
    Case(
        "dump_comments.zst",
        zstandard.compress(b'{"body": "Good.", "created_utc": 1, "id": "b"}\n' * 2)[:-4],
        (),
        "cut short",
    ),
    Case("noise.car", b"\xff" * 500, (), "cut short"),
]
