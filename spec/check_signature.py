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

LETTER = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") | frozenset(range(0x80, 0x100))
CAPITAL = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ")
SMALL = frozenset(b"abcdefghijklmnopqrstuvwxyz")
DIGIT = frozenset(b"0123456789")
WORD = LETTER | DIGIT | frozenset(b"_")
SPACE = frozenset(range(0x21)) | {0x7F}
RUN = WORD | frozenset(b".:/\\@-+#$%&~!?^")
SEPARATOR = SPACE | frozenset(b".:/\\@-+_#$%&~,;|")
QUOTE = frozenset(b"\"'`")
LEAD, TAIL = frozenset(b".-+#%&?!^:$~"), frozenset(b".:!?-+&")
HEX = frozenset(b"0123456789abcdefABCDEF")
URL_END = SPACE | QUOTE | frozenset(b"<>[]{},;|)")
BRACKETS = {0x28: 0x29, 0x5B: 0x5D, 0x7B: 0x7D, 0x3C: 0x3E}


def words(text):
    return frozenset(text.encode().split())


VARIABLE_WORDS = words("""Mon Tue Wed Thu Fri Sat Sun Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec true True TRUE false
    False FALSE null NULL None nil undefined NaN root admin""")
UNITS = words("""ns us \u00b5s \u03bcs ms s sec secs second seconds m min mins minute minutes h hr hrs hour hours d day days
    week weeks B b kB KB MB GB TB KiB MiB GiB TiB kb mb gb byte bytes Bytes bit bits K M G AM PM am pm UTC GMT percent Hz
    kHz MHz GHz W V mV rpm""")
PREPOSITIONS = words("for from to by of in on at with as via into")
BEFORE_NAMES, BEHIND_NAMES = words("for from of by to"), words("from to by in on at port via")
ARTICLES, IS = words("the a an"), words("is was has")
NOUNS = words("""user username host hostname node pod container queue topic namespace group database table index schema
    bucket job task thread role cluster partition volume device interface package module key channel tenant template region
    zone worker account service server deployment""")
NO_NAMES = PREPOSITIONS | words("""is was has had have not no are be been unknown invalid will may can cannot could must
    should does did do the a an this that and or but if name names id ids type already manager list set up down ready
    failed error timeout status state file data now""")
ENDINGS = (b"ed", b"ing", b"able", b"ible", b"tion", b"tions", b"ment")
COLON, DASH = b":", b"-"


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

def is_hex_group(word):
    return len(word) <= 4 and all(byte in HEX for byte in word)


class Mask:
    def __init__(self, text):
        start = 0
        while start < len(text) and text[start] in SPACE:
            start += 1
        self.text = cut(re.split(rb"[\n\r]", text[start:], maxsplit=1)[0], MAX_TEXT)
        self.size = len(self.text)
        self.stretches = []
        self.before = None  # (end, word or COLON or DASH, the word before that) of the last word
        self.candidate = None  # (start, end, words that may follow)

    def at(self, i):
        return self.text[i] if 0 <= i < self.size else 0x20

    def run_end(self, i, allowed):
        while i < self.size and self.text[i] in allowed:
            i += 1
        return i

    # 2.3
    def add(self, start, end):
        while True:
            if self.stretches and all(b in SEPARATOR for b in self.text[self.stretches[-1][1]:start]):
                start = self.stretches.pop()[0]
            elif start and end < self.size and BRACKETS.get(self.text[start - 1]) == self.text[end]:
                start, end = start - 1, end + 1
            elif self.at(start - 1) == 0x3C or (self.at(start - 1) == 0x2A and self.at(start - 2) in SPACE):
                start -= 1
            else:
                break
        self.stretches.append((start, end))

    # 2.4
    def template(self):
        i = 0
        while i < self.size:
            byte = self.text[i]
            if byte in RUN:
                i = self.run(i)
            elif byte in QUOTE:
                i = self.quoted(i)
            elif byte == 0x3C:
                i = self.placeholder(i)
            elif byte == 0x3D:
                i = self.equals(i)
            elif byte in b"([{" and self.at(i + 1) == BRACKETS[byte] and self.at(i - 1) == 0x20 \
                    and (self.at(i + 2) in SPACE or self.at(i + 2) in b",;:"):
                self.add(i, i + 2)
                i += 2
            else:
                i += 1
        return self.written()

    def written(self):
        out, at = b"", 0
        for start, end in self.stretches:
            out += re.sub(rb"[\x00-\x20\x7f]+", b" ", self.text[at:start]) + b"<*>"
            at = end
        return (out + re.sub(rb"[\x00-\x20\x7f]+", b" ", self.text[at:])).rstrip(b" .,;:")

    # 2.5
    def quote_end(self, start):
        quote = self.at(start)
        for i in range(start + 1, self.size):
            if self.text[i] == quote and self.text[i - 1] != 0x5C and self.at(i + 1) not in WORD:
                return self.run_end(i, {quote})
        return None

    def quoted(self, start):
        end = None if self.at(start - 1) in WORD else self.quote_end(start)
        if end is None:
            return start + 1
        before = self.at(start - 2) if self.at(start - 1) == 0x20 else self.at(start - 1)
        if self.at(end) == 0x3A and before in b"{,":
            return end
        verb = self.run_end(start + 1, CAPITAL)
        is_request = 3 <= verb - start - 1 <= 7 and self.at(verb) == 0x20 and verb + 2 < end
        self.add(verb + 1 if is_request else start, end)
        return end

    def placeholder(self, start):
        end = self.run_end(start + 1, frozenset(range(256)) - frozenset(b"<>="))
        if self.at(start + 1) not in LETTER or self.at(end) != 0x3E:
            return start + 1
        self.add(start, end + 1)
        return end + 1

    def equals(self, at):
        before, behind = self.at(at - 1), self.at(at + 1)
        spaced = before == behind == 0x20 and self.at(at - 2) in WORD and self.at(at + 2) in RUN
        named = (before in WORD or before in b"])") and behind not in b"=>{[(<"
        if not spaced and not named:
            return at + 1
        start = at + 2 if spaced else at + 1
        quote = start + 1 if not spaced and behind == 0x20 else start
        end = self.quote_end(quote) if self.at(quote) in QUOTE else None
        if end is not None:
            start = quote
        else:
            end = self.value_end(start)
        self.add(start, end)
        return end

    def value_end(self, at):
        depth = 0
        while at < self.size:
            byte = self.text[at]
            if byte in SPACE or byte in QUOTE:
                break
            if byte in b"([{":
                depth += 1
            elif byte in b")]}":
                if depth == 0:
                    break
                depth -= 1
            elif byte in b",;|&>" and depth == 0:
                break
            at += 1
        return at

    def url_end(self, start):
        end = self.run_end(start, frozenset(range(256)) - URL_END)
        while self.text[end - 1] in b".:!?":
            end -= 1
        return end

    # 2.6
    def run(self, start):
        text = self.text
        end = self.run_end(start, RUN)
        run = text[start:end]
        if re.match(rb"[A-Za-z\x80-\xff][A-Za-z\x80-\xff0-9+.-]*://(?s:.)", run):
            last = self.url_end(start)
            self.add(start, last)
            return last
        if self.at(end) == 0x3D:
            if b"/" in run and b"?" in run:
                name = self.run_end(start, LETTER)
                last = self.url_end(start)
                self.add(name + 1 if self.at(name) == 0x3A else start, last)
                return last
            if not any(byte in DIGIT for byte in run):
                return end
        first = start
        while first < end and text[first] in LEAD:
            first += 1
        is_sign = first == start + 1 and text[start] in b"-+~" and self.at(first) in DIGIT
        if is_sign or self.at(first) not in WORD:
            first = start
        last = end
        while last > first and text[last - 1] in TAIL:
            last -= 1
        self.parts(first, last)
        if last < end:
            if text[end - 1] == 0x3A and self.at(end - 2) in WORD:
                self.before = (end, COLON, None)
            elif run == b"-" and self.at(start - 1) in SPACE:
                self.before = (end, DASH, None)
        return end

    def parts(self, start, end):
        while start < end:
            behind = self.name_end(start, end)
            if behind is not None:
                start = behind
                continue
            found = self.find_cut(start, end)
            if found is None:
                self.judge(start, end)
                return
            self.judge(start, found[0])
            start = found[1]

    def name_end(self, start, end):
        if self.text[start] not in LETTER:
            return None
        colon = min(self.run_end(start, LETTER | frozenset(b"_-")), end)
        is_drive = colon == start + 1 and colon + 1 < end and self.text[colon + 1] == 0x5C
        if colon == end or self.text[colon] != 0x3A or is_drive or is_hex_group(self.text[start:colon]):
            return None
        return min(self.run_end(colon, b":"), end)

    def find_cut(self, start, end):
        text, i = self.text, start + 1
        while i + 2 < end:
            byte = text[i]
            if byte not in b":." or text[i + 1] != byte:
                i += 1
                continue
            behind = min(self.run_end(i, {byte}), end)
            if byte == 0x3A:
                group = i
                while group > start and text[group - 1] in LETTER | DIGIT:
                    group -= 1
                if group < i and not is_hex_group(text[group:i]):
                    return i, behind
            elif text[i - 1] in WORD and behind < end and text[behind] in WORD:
                return i, behind
            i = behind
        return None

    def judge(self, start, end):
        if start >= end:
            return
        part = self.text[start:end]

        def between(mark, side):
            return any(part[i] == mark and part[i - 1] in side and part[i + 1] in side for i in range(1, len(part) - 1))

        def has(members):
            return any(byte in members for byte in part)

        if has(DIGIT):
            self.add(start, end)
        elif not has(LETTER):
            return
        elif has(b"/\\@") or between(0x2E, WORD) or (between(0x5F, SMALL) and not has(CAPITAL)):
            self.add(start, end)
        elif (self.at(start - 1), self.at(end)) in ((0x28, 0x29), (0x5B, 0x5D)) or part in VARIABLE_WORDS \
                or (part.endswith(b"Error") and len(part) > 5) or (part.endswith(b"Exception") and len(part) > 9):
            self.add(start, end)
        elif all(byte in LETTER or byte in b"_-" for byte in part):
            self.word(start, end, part)

    # 2.7
    def word(self, start, end, word):
        previous = before_that = None
        if self.at(start - 1) == 0x20 and self.before and self.before[0] == start - 1:
            previous, before_that = self.before[1:]
        if self.candidate and self.candidate[1] == start - 1 and self.at(start - 1) == 0x20 and word in self.candidate[2]:
            self.add(*self.candidate[:2])
        if word in UNITS and self.at(start - 1) == 0x20 and self.stretches and self.stretches[-1][1] == start - 1 \
                and self.at(end) != 0x3D:
            self.add(start, end)
            return
        self.before = (end, word, previous)
        if self.is_name(start, end, word, previous, before_that):
            self.add(start, end)

    def is_name(self, start, end, word, previous, before_that):
        behind, next_byte = self.at(end), self.at(end + 1)
        if previous == COLON and behind in b",;":
            return True
        if previous == DASH and self.text[end:end + 2] == b" [" and self.at(end + 2) in DIGIT:
            return True
        has_ending = any(word.endswith(e) and len(word) >= len(e) + 3 for e in ENDINGS) and all(b in SMALL for b in word)
        may_be = word not in NO_NAMES and not has_ending
        is_constant = len(word) > 1 and all(byte in CAPITAL for byte in word)
        if previous in (b"user", b"User") and may_be:
            return True
        if previous in NOUNS and not is_constant and (may_be or (before_that in PREPOSITIONS and word not in NO_NAMES)):
            set_off = (behind in b":,(" and next_byte in SPACE) or (behind == 0x20 and next_byte in b"([")
            if before_that in PREPOSITIONS or set_off:
                return True
            self.candidate = (start, end, PREPOSITIONS | IS)
        elif previous in (b"by", b"via"):
            if is_constant or word in ARTICLES:
                return False
            if end == self.size or (behind in b".,:;" and next_byte in SPACE):
                return True
            self.candidate = (start, end, PREPOSITIONS)
        elif previous in BEFORE_NAMES and word not in ARTICLES and (previous == b"for" or not is_constant):
            self.candidate = (start, end, BEHIND_NAMES)
        return False


def sign(text):
    template = Mask(text).template()
    return "%016x" % xxh64(template), template


def check(path):
    with open(path, encoding="utf-8") as file:
        document = json.load(file)
    assert document["version"] == 2, "these are vectors of another version"
    failed = 0
    for vector in document["vectors"]:
        if "record" in vector:
            text = text_of_record(vector["record"])
        elif "repeat" in vector:
            repeat = vector["repeat"]
            text = text_of_string((repeat["text"] * repeat["times"] + repeat["then"]).encode())
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
