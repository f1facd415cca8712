"""What the programs for the providers' libraries have in common.

Reads calls and writes answers, one JSON object a line, until the input closes:

    {"call": name, "arguments": {…}}

is answered with {"value": …}, or {"raised": type, "details": …, "traceback": …}. A program may define `details(error)`.
"""

import faulthandler
import json
import sys
import traceback
import warnings

import requests

URL = sys.argv[1]
"""Where the simulator is."""

warnings.simplefilter("ignore", DeprecationWarning)


class Plain(requests.adapters.HTTPAdapter):
    """Takes requests for https to the simulator, which speaks HTTP, whatever their host."""

    def send(self, request, **options):
        rest = request.url.split("://", 1)[1]
        request.url = URL + rest[rest.find("/"):]
        return super().send(request, **options)


def session():
    made = requests.Session()
    made.trust_env = False
    made.mount("https://", Plain())
    return made


def serve(program):
    details = program.get("details", lambda error: None)
    for line in sys.stdin.buffer:
        call = json.loads(line)
        # A client that waits for an answer that never comes ends with a traceback, and its test with it.
        faulthandler.dump_traceback_later(120, exit=True)
        try:
            answer = {"value": program[call["call"]](**call["arguments"])}
            line = json.dumps(answer)
        except Exception as error:
            answer = {"raised": type(error).__name__, "details": details(error), "traceback": traceback.format_exc()}
            line = json.dumps(answer)
        faulthandler.cancel_dump_traceback_later()
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
