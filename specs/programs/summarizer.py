#!/usr/bin/env python3
"""A queue worker: for each job it asks the researcher and writes what came back.

SPOOL/jobs/NAME.txt      a job: one word a line
SPOOL/results/NAME.json  its result: {"job", "summary": {WORD: {"matches", "files"}}}

A job's file is removed after its result is on disk under its final name, so a job is never lost:
a worker that dies in between does it once more. One that cannot be done moves to SPOOL/failed.
Environment: SUMMARIZER_SPOOL (/tmp/osmoda-summarizer), SUMMARIZER_RESEARCHER
(http://127.0.0.1:18080).
"""

import json
import os
import signal
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import quote

POLL_SECONDS = 0.5
IDLE_LINE_SECONDS = 10
ASK_SECONDS = 5
WORDS_MAX = 50
JOB_BYTES_MAX = 1 << 16


class BadJob(Exception):
    """A job that will not get better by trying again."""


class Stopped(Exception):
    """SIGTERM came while we waited."""


def ask(researcher, word):
    """What the researcher knows of a word; OSError if it cannot be asked now."""
    url = f"{researcher}/search?q={quote(word)}"
    with urllib.request.urlopen(url, timeout=ASK_SECONDS) as response:
        matches = json.load(response)["matches"]
    return {"matches": len(matches), "files": sorted({match["file"] for match in matches})}


def words_of(job):
    if job.stat().st_size > JOB_BYTES_MAX:
        raise BadJob(f"more than {JOB_BYTES_MAX} bytes")
    try:
        text = job.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadJob("not UTF-8") from error
    words = [line.strip() for line in text.splitlines() if line.strip()]
    if not words or len(words) > WORDS_MAX:
        raise BadJob(f"{len(words)} words; 1 to {WORDS_MAX} are taken")
    return words


def write_whole(path, value):
    """Writes a file that is there completely or not at all."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    with open(unfinished, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)


def work(job, results, researcher, stop):
    summary = {}
    for word in words_of(job):
        if stop.is_set():
            raise Stopped
        summary[word] = ask(researcher, word)
    write_whole(results / f"{job.stem}.json", {"job": job.stem, "summary": summary})
    job.unlink()
    print(f"job {job.stem}: {len(summary)} words done")


def take(spool, researcher, stop):
    """Works through what is in the queue now. Whether the researcher could be asked."""
    jobs = sorted(path for path in (spool / "jobs").glob("*.txt") if not path.name.startswith("."))
    for job in jobs:
        if stop.is_set():
            break
        try:
            work(job, spool / "results", researcher, stop)
        except Stopped:
            break
        except FileNotFoundError:
            continue  # somebody took the job back
        except BadJob as error:
            job.replace(spool / "failed" / job.name)
            print(f"job {job.stem}: refused: {error}", file=sys.stderr)
        except (urllib.error.URLError, TimeoutError, ConnectionError, ValueError) as error:
            print(f"job {job.stem}: kept, the researcher does not answer: {error}", file=sys.stderr)
            return False
    return True


def main():
    spool = Path(os.environ.get("SUMMARIZER_SPOOL", "/tmp/osmoda-summarizer"))
    researcher = os.environ.get("SUMMARIZER_RESEARCHER", "http://127.0.0.1:18080").rstrip("/")
    for name in ("jobs", "results", "failed"):
        (spool / name).mkdir(parents=True, exist_ok=True)

    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    print(f"waiting for jobs in {spool / 'jobs'}")
    idle = 0.0
    while not stop.is_set():
        answered = take(spool, researcher, stop)
        # A researcher that is away is not asked twice a second.
        pause = POLL_SECONDS if answered else 4 * POLL_SECONDS
        stop.wait(pause)
        idle += pause
        if idle >= IDLE_LINE_SECONDS:
            print("waiting")  # the sign of life that its spec asks for
            idle = 0.0
    print("stopped")


if __name__ == "__main__":
    main()
