#!/usr/bin/env python3
"""Signatures in Python, written from signature.md alone, to check signature-vectors.json. Standard library only.

usage: check_signature.py [VECTORS.json]      check the vectors; exit status 1 if one fails
       check_signature.py --lines < LOG       print signature and template of each line
"""
import base64
import json
import os
import re
import sys

MASK64 = (1 << 64) - 1
MESSAGE_FIELDS = [b"message", b"msg", b"event", b"log", b"body", b"text", b"@mt", b"@m", b"short_message",
                  b"MESSAGE", b"Message", b"error"]
MAX_ENTRIES, MAX_JSON, MAX_TEXT = 64, 16_384, 1_024

LETTERS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") | frozenset(range(0x80, 0x100))
DIGITS = frozenset(b"0123456789")
WORD = LETTERS | DIGITS
SPACE = frozenset(range(0x21)) | {0x7F}
SEPARATORS = frozenset(b".,:;-/\\+_#@%|")
URL = WORD | frozenset(b".:-/\\+_#@%=&!$*?^~")
VALUE_END = SPACE | frozenset(b",;|&)]}>\"'")
HEX = frozenset(b"0123456789abcdefABCDEF")
UNITS = frozenset(b"""ns us ms s sec secs second seconds m min mins minute minutes h hour hours day days B b kB KB MB GB TB
    KiB MiB GiB TiB kb mb gb byte bytes AM PM UTC GMT""".split())
VARIABLE_WORDS = frozenset(b"""Mon Tue Wed Thu Fri Sat Sun Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec true True TRUE
    false False FALSE null""".split())


def xxh64(data, seed=0):
    p1, p2, p3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
    p4, p5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5

    def rotate(x, n):
        return (x << n | x >> (64 - n)) & MASK64

    def mix(acc, lane):
        return rotate((acc + lane * p2) & MASK64, 31) * p1 & MASK64

    def word(at, size):
        return int.from_bytes(data[at:at + size], "little")

    at, size = 0, len(data)
    if size >= 32:
        acc = [(seed + p1 + p2) & MASK64, (seed + p2) & MASK64, seed, (seed - p1) & MASK64]
        while at + 32 <= size:
            acc = [mix(a, word(at + 8 * i, 8)) for i, a in enumerate(acc)]
            at += 32
        h = sum(rotate(a, n) for a, n in zip(acc, (1, 7, 12, 18))) & MASK64
        for a in acc:
            h = ((h ^ mix(0, a)) * p1 + p4) & MASK64
    else:
        h = (seed + p5) & MASK64
    h = (h + size) & MASK64
    while at + 8 <= size:
        h = (rotate(h ^ mix(0, word(at, 8)), 27) * p1 + p4) & MASK64
        at += 8
    if at + 4 <= size:
        h = (rotate(h ^ word(at, 4) * p1 & MASK64, 23) * p2 + p3) & MASK64
        at += 4
    for byte in data[at:]:
        h = rotate(h ^ byte * p5 & MASK64, 11) * p1 & MASK64
    h = (h ^ h >> 33) * p2 & MASK64
    h = (h ^ h >> 29) * p3 & MASK64
    return h ^ h >> 32


# Section 3

def cut(text, limit):
    if len(text) <= limit or not 0x80 <= text[limit] <= 0xBF:
        return text[:limit]
    for at in (limit - 1, limit - 2, limit - 3):
        if not 0x80 <= text[at] <= 0xBF:
            return text[:at] if text[at] >= 0xC0 else text[:limit]
    return text[:limit]


# Section 1

def is_blank(text):
    return all(byte in SPACE for byte in text)


def choose(entries):
    """The message of entries (key, string value or None), else None and the text that their keys make."""
    best, message, keys = len(MESSAGE_FIELDS), None, []
    for key, value in entries:
        keys.append(key)
        if value is not None and not is_blank(value) and key in MESSAGE_FIELDS[:best]:
            best, message = MESSAGE_FIELDS.index(key), value
        if len(keys) == MAX_ENTRIES:
            break
    return message, b"{" + b" ".join(sorted(cut(key, MAX_TEXT) for key in keys)) + b"}"


def json_entries(data, at):
    def skip_space(at):
        while at < len(data) and data[at] in b" \t\n\r":
            at += 1
        return at

    def string_end(at):
        """Behind the closing quote of the string whose first byte is at `at`; None if it is not closed."""
        while at < len(data):
            if data[at] == ord('"'):
                return at + 1
            at += 2 if data[at] == ord("\\") else 1
        return None

    while True:
        at = skip_space(at)
        if data[at:at + 1] == b",":
            at = skip_space(at + 1)
        if data[at:at + 1] != b'"':
            return
        end = string_end(at + 1)
        if end is None:
            return
        key = data[at + 1:end - 1]
        at = skip_space(end)
        if data[at:at + 1] != b":":
            return
        at = skip_space(at + 1)
        if data[at:at + 1] == b'"':
            end = string_end(at + 1)
            yield key, data[at + 1:] if end is None else data[at + 1:end - 1]
            at = len(data) if end is None else end
            continue
        depth = 0
        while at < len(data):
            byte = data[at:at + 1]
            if depth == 0 and byte in (b",", b"}", b"]"):
                break
            depth += (byte in (b"{", b"[")) - (byte in (b"}", b"]"))
            at += 1
            if byte == b'"':
                at = string_end(at) or len(data)
        yield key, None


def resolve_escapes(raw):
    simple = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f"}

    hex4 = rb"[0-9a-fA-F]{4}"
    pair = rb"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})"
    out, at = b"", 0
    for match in re.finditer(rb"(?s)" + pair + rb"|\\u(" + hex4 + rb")|\\(.?)", raw):
        out += raw[at:match.start()]
        at = match.end()
        high, low, single, other = match.groups()
        if high is not None:
            code = 0x10000 + ((int(high, 16) - 0xD800) << 10) + (int(low, 16) - 0xDC00)
            out += chr(code).encode()
        elif single is not None:
            code = int(single, 16)
            out += "\uFFFD".encode() if 0xD800 <= code <= 0xDFFF else chr(code).encode()
        else:
            out += simple.get(other, other)
    return out + raw[at:]


def text_of_string(text):
    data = text[:MAX_JSON]
    at = len(data) - len(data.lstrip(b" \t\n\r"))
    if data[at:at + 1] != b"{":
        return text
    entries = list(json_entries(data, at + 1))
    message, keys = choose(entries)
    if message is not None:
        return resolve_escapes(message)
    return keys if entries else text


def text_of_record(record):
    event_name = record.get("eventName", "").encode()
    body = record.get("body") or {}
    if "stringValue" in body:
        text = body["stringValue"].encode()
        return event_name if is_blank(text) else text_of_string(text)
    if "kvlistValue" in body:
        entries = []
        for entry in body["kvlistValue"].get("values", []):
            value = entry.get("value", {}).get("stringValue")
            entries.append((entry["key"].encode(), None if value is None else value.encode()))
        message, keys = choose(entries)
        return keys if message is None else message
    for kind, text in (("arrayValue", b"[array]"), ("bytesValue", b"[bytes]"), ("intValue", b"[number]"),
                       ("doubleValue", b"[number]"), ("boolValue", b"[bool]")):
        if kind in body:
            return text
    return event_name


# Section 2

def run_end(text, start, allowed):
    while start < len(text) and text[start] in allowed:
        start += 1
    return start


def url_end(text, start):
    end = run_end(text, start, URL)
    while end > start + 1 and text[end - 1] in b".:!?":
        end -= 1
    return end


def value_end(text, start):
    quote = text[start:start + 1]
    if quote not in (b'"', b"'"):
        return run_end(text, start, frozenset(range(256)) - VALUE_END)
    at = start + 1
    while at < len(text):
        if text[at:at + 1] == quote:
            return at + 1
        at += 2 if text[at:at + 1] == b"\\" else 1
    return start


def is_hex_group(word):
    return len(word) in (2, 4, 8, 12) and all(byte in HEX for byte in word)


def hex_run_end(text, start, end_of_word):
    """The end of the hex run, None if it is empty."""
    end = run_end(text, start, HEX | frozenset(b"-:"))
    if (end < len(text) and text[end] in WORD) or not any(byte in DIGITS for byte in text[start:end]):
        return None
    while text[end - 1] in b"-:":
        end -= 1
    return end if end > end_of_word else None


class Mask:
    def __init__(self, text):
        start = run_end(text, 0, SPACE)
        self.text = cut(re.split(rb"[\n\r]", text[start:], maxsplit=1)[0], MAX_TEXT)
        self.out = bytearray()
        self.gap = None

    def copy(self, data):
        self.out += data
        if any(byte not in SEPARATORS and byte not in SPACE for byte in data):
            self.gap = None

    def variable(self):
        out = self.out
        if self.gap is not None:
            del out[self.gap:]
            return
        if out[-1:] in (b"-", b"+") and (len(out) == 1 or out[-2] not in LETTERS):
            del out[-1]
        out += b"<*>"
        self.gap = len(out)

    def without_name(self):
        rest = len(self.out)
        while rest:
            if self.out[:rest].endswith(b"<*>"):
                rest -= 3
            elif self.out[rest - 1] in LETTERS or self.out[rest - 1] in b".-_":
                rest -= 1
            else:
                break
        return rest

    def cut_back(self, length):
        del self.out[length:]
        end = length
        while end and (self.out[end - 1] in SEPARATORS or self.out[end - 1] == 0x20):
            end -= 1
        self.gap = end if self.out[:end].endswith(b"<*>") else None

    def template(self):
        at = 0
        while at < len(self.text):
            byte = self.text[at]
            if byte in SPACE:
                self.copy(b" ")
                at = run_end(self.text, at, SPACE)
            elif byte in WORD:
                at = self.word(at)
            else:
                at = self.mark(at, self.text[at:at + 1])
        if self.out[-1:] == b" ":
            del self.out[-1]
        return bytes(self.out)

    def word(self, start):
        text = self.text
        end = run_end(text, start, WORD)
        word = text[start:end]
        if any(byte in DIGITS for byte in word):
            self.variable()
            return end
        between = None if self.gap is None else bytes(self.out[self.gap:])
        is_url = text[end:end + 3] == b"://" or (len(word) == 1 and text[end:end + 2] == b":\\")
        run = hex_run_end(text, start, end) if is_hex_group(word) else None
        if not (between in (b".", b"_")
                or (between == b" " and word in UNITS)
                or (between and not between.strip(b"-:") and is_hex_group(word))
                or is_url or run is not None or word in VARIABLE_WORDS):
            self.copy(word)
            return end
        self.variable()
        return url_end(text, start) if is_url else run or end

    def mark(self, at, byte):
        text = self.text
        before = text[at - 1] if at else None
        behind = text[at + 1] if at + 1 < len(text) else 0x20
        if byte == b"=":
            self.out += b"="
            self.gap = None
            if (before in WORD or before == ord("_")) and behind not in b"=>{[(<":
                self.variable()
                return value_end(text, at + 1)
            return at + 1
        if byte == b"/" and before not in WORD | frozenset(b"</") and (behind in WORD or behind in b"._"):
            self.variable()
            return url_end(text, at)
        if byte == b":" and before in LETTERS and behind in DIGITS:
            length = self.without_name()
            if b"." in self.out[length + 1:]:
                self.cut_back(length)
                self.variable()
        elif byte == b":" and before is not None and before in b"\"'":
            self.copy(b":")
            start = at + 2 if behind == 0x20 and at + 1 < len(text) else at + 1
            if text[start:start + 1] == bytes([before]) and value_end(text, start) > start:
                self.out += text[at + 1:start]
                self.gap = None
                self.variable()
                return value_end(text, start)
            return at + 1
        elif byte == b"@" and before in WORD and behind in WORD:
            self.cut_back(self.without_name())
            self.variable()
            end = run_end(text, at + 1, WORD | frozenset(b".-_"))
            while text[end - 1] in b".-":
                end -= 1
            return end
        self.copy(byte)
        return at + 1


def sign(text):
    template = Mask(text).template()
    return "%016x" % xxh64(template), template


def check(path):
    with open(path, encoding="utf-8") as file:
        document = json.load(file)
    assert document["version"] == 1, "these are vectors of another version"
    failed = 0
    for vector in document["vectors"]:
        if "record" in vector:
            text = text_of_record(vector["record"])
        elif "text_base64" in vector:
            text = text_of_string(base64.b64decode(vector["text_base64"]))
        else:
            text = text_of_string(vector["text"].encode())
        signature, template = sign(text)
        expected = base64.b64decode(vector["template_base64"]) if "template_base64" in vector \
            else vector["template"].encode()
        if (signature, template) != (vector["signature"], expected):
            failed += 1
            print("FAILED:", vector["note"], vector, "gives", signature, template)
    print(f"{len(document['vectors'])} vectors, {failed} failed")
    return 1 if failed else 0


def main(arguments):
    if arguments == ["--lines"]:
        for line in sys.stdin.buffer:
            signature, template = sign(text_of_string(line.rstrip(b"\n")))
            sys.stdout.buffer.write(signature.encode() + b"\t" + template + b"\n")
        return 0
    here = os.path.dirname(os.path.abspath(__file__))
    return check(arguments[0] if arguments else os.path.join(here, "signature-vectors.json"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
