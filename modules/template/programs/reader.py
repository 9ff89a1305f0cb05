"""Looks at the notes every few seconds and says what it sees."""

import sys
import time
import urllib.error
import urllib.request

PAUSE_S = 5


def look(url):
    """One line about what is there."""
    try:
        with urllib.request.urlopen(url, timeout=PAUSE_S) as answer:
            return f"{len(answer.read())} bytes of notes"
    except urllib.error.URLError as error:
        return f"no notes: {error.reason}"


def main():
    """Reports until it is stopped."""
    while True:
        print(look(sys.argv[1]))
        time.sleep(PAUSE_S)


if __name__ == "__main__":
    main()
