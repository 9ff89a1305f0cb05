#!/usr/bin/env python3
"""Verifies a ledger of osmoda: verify_ledger.py LEDGER [--checkpoint NOTE]... [--key VKEY]...

Python's standard library, and the openssl command for Ed25519. Read it beside ledger-format.md,
which says what each check is for. Exit code 0: sound; 1: not, with the reason.
"""
import argparse, base64, hashlib, json, pathlib, re, sqlite3, subprocess, sys, tempfile

NOTE = re.compile("((?:[^\0-\x1f]+\n){3})\n((?:\u2014 \\S+ [A-Za-z0-9+/]+=*\n)+)")

def need(condition, why):
    return condition or sys.exit(f"FAILED: {why}")
def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()
def root_of(peaks):  # from the roots of the perfect subtrees, the largest first (RFC 6962)
    hashes = [hash for _, hash in peaks]
    while len(hashes) > 1:
        hashes[-2:] = [sha(b"\x01", *hashes[-2:])]
    return hashes[0] if hashes else sha()

def integer(text):
    need(abs(int(text)) < 2**53, f"the integer {text} is too large")  # a decimal is no int at all
    return int(text)
def members(pairs):
    need(len(dict(pairs)) == len(pairs) and all(key.isascii() for key, _ in pairs), "a bad key")
    return dict(pairs)
def parse_entry(seq, body):  # canonical means that writing it again gives the same bytes
    entry = json.loads(body.decode(), object_pairs_hook=members, parse_int=integer,
                       parse_float=integer, parse_constant=integer)
    again = json.dumps(entry, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    need(again.encode() == body and len(body) <= 65536, f"entry {seq} is not canonical")
    need(entry["seq"] == seq and entry["v"] == 1, f"entry {seq} says that it is another one")
    return entry

def parse_key(text):  # NAME+ID+BASE64, where BASE64 is a byte 1 and the key
    name, number, encoded = text.split("+", 2)
    data = base64.b64decode(encoded, validate=True)
    right = len(data) == 33 and data[0] == 1 and sha(name.encode(), b"\n", data)[:4].hex() == number
    need(right, f"{text} is no Ed25519 key, or not spelled as it should")
    return name, number, data[1:]
def is_signed(text, signature, public):
    der = bytes.fromhex("302a300506032b6570032100") + public  # RFC 8410
    command = "openssl pkeyutl -verify -rawin -in text -sigfile sig -pubin -keyform DER -inkey key"
    with tempfile.TemporaryDirectory() as folder:
        for name, data in (("text", text.encode()), ("sig", signature), ("key", der)):
            pathlib.Path(folder, name).write_bytes(data)
        return subprocess.run(command.split(), cwd=folder, capture_output=True).returncode == 0
def open_note(what, note, keys):  # size, root, and those of the keys that signed it
    parts = NOTE.fullmatch(note)
    need(parts, f"{what} is no checkpoint")
    (name, said, root), signers = parts[1].split("\n")[:3], []
    need(name == origin and re.fullmatch("0|[1-9][0-9]*", said), f"{what} is of another log")
    for line in parts[2].splitlines():
        _, name, encoded = line.split(" ")
        data = base64.b64decode(encoded, validate=True)
        need(base64.b64encode(data).decode() == encoded, f"{what} is not spelled as it should be")
        for key in (key for key in keys if key[:2] == (name, data[:4].hex())):
            need(is_signed(parts[1], data[4:], key[2]), f"{what} has a wrong signature of {name}")
            signers.append(key)
    return int(said), base64.b64decode(root, validate=True), signers

arguments = argparse.ArgumentParser()
arguments.add_argument("ledger")
arguments.add_argument("--checkpoint", action="append", default=[])
arguments.add_argument("--key", action="append", default=[])
given = arguments.parse_args()
path = pathlib.Path(given.ledger).absolute().as_uri() + "?mode=ro"
try:
    alone = "" if pathlib.Path(given.ledger + "-wal").exists() else "&immutable=1"
    db = sqlite3.connect(path + alone, uri=True, isolation_level=None)
    db.execute("BEGIN")  # a daemon that writes meanwhile does not move the end
    (origin, size, frontier), = db.execute("SELECT origin, size, frontier FROM log")
    stored = {row[0]: row[1:] for row in db.execute("SELECT size, note, signed_at FROM checkpoint")}
    trusted = [key for key in map(parse_key, given.key) if key[0] == origin]
    known, announced, missing, nodes, roots = trusted[:], [], set(), set(), {0: sha()}
    chain, peaks, count = sha(b"osmoda/chain/v1\n", origin.encode()), [], 0
    for seq, body, leaf, after in db.execute("SELECT * FROM entry ORDER BY seq"):
        need(seq == count, f"entry {count} is missing; the next one has seq {seq}")
        need(body is None or sha(b"\0", body) == leaf, f"entry {seq} is not what its leaf says")
        entry = parse_entry(seq, body) if body is not None else {"kind": missing.add(seq)}
        if entry["kind"] == "Pruned":
            missing -= set(range(entry["body"]["firstSeq"], entry["body"]["lastSeq"] + 1))
        elif entry["kind"] == "Redacted":
            missing.discard(entry["body"]["seq"])
        elif entry["kind"] == "KeyRotated":  # the first one is believed if no key was given
            announced = [parse_key(entry["body"]["next"])]
            if not trusted and not given.key:
                trusted, known, announced = announced, announced, []
        chain = sha(b"osmoda/chain/v1\n", chain, leaf)
        need(chain == after, f"entry {seq}: its chain value does not follow")
        count, level, hash = count + 1, 0, leaf
        while peaks and peaks[-1][0] == level:
            level, hash = level + 1, sha(b"\x01", peaks.pop()[1], hash)
            if level % 8 == 0:
                nodes.add((level, seq >> level, hash))
        peaks.append((level, hash))
        roots[count] = root_of(peaks) if count in stored or given.checkpoint else b""
        if count in stored:
            what, (note, time) = f"the checkpoint of {count} entries", stored.pop(count)
            said, root, signers = open_note(what, note, trusted + announced)
            need((said, root) == (count, roots[count]), f"{what} says something else")
            need(any(key in signers for key in trusted), f"{what} is not signed by a trusted key")
            need(all(key in signers for key in announced), f"{what} is not signed by the new key")
            need(re.fullmatch(r"[\d-]{10}T[\d:.]{15}Z", time), f"{what} has no proper time")
            if announced:  # the old key vouches for the new one, and its time is over
                trusted, known, announced = announced, known + announced, []
    need(not missing, f"entry {min(missing, default=0)} has no body, and no later one says why")
    need(count == size, f"it has {count} entries and says {size}")
    need(b"".join(hash for _, hash in peaks) == frontier, "the stored tree is another one")
    need(not stored, f"it has a checkpoint of {max(stored, default=0)}: its end was cut off")
    need(set(db.execute("SELECT * FROM subtree")) == nodes, "a stored node of the tree is wrong")
    for path in given.checkpoint:
        outside, root, signers = open_note(path, open(path, encoding="utf-8").read(), known)
        need(outside <= size, f"{path} was signed for {outside} entries: the end was cut off")
        need(roots[outside] == root, f"{path} was signed for another history")
        need(signers, f"{path} is not signed by a key of the log")
except (sqlite3.Error, ValueError, KeyError, TypeError, OSError) as error:
    need(False, f"what is stored cannot be read: {error!r}")
print(f"ok: {size} entries of {origin}\nroot {root_of(peaks).hex()}\nchain {chain.hex()}")
