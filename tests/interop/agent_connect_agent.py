"""An agent on Twilio Agent Connect: hears status callbacks and answers each SMS.

tests/interop/agent_connect.py starts it in the SDK's own environment, with the sandbox's URL and a port as arguments.
The SDK knows Twilio's hosts only, so the base URLs of its clients are replaced before it starts.
"""

import asyncio
import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tac import TAC, TACConfig
from tac.channels.sms import SMSChannel
from tac.context.base import BaseAPIClient

ANSWER = "Agent Connect heard: "


def main(sandbox: str, port: int) -> None:
    """Serve until the process is ended."""
    BaseAPIClient._build_base_url = staticmethod(lambda product, region: sandbox)
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    tac = TAC(TACConfig.from_env())
    channel = SMSChannel(tac)

    async def answer(message, context, memory):
        return None if message.startswith(ANSWER) else ANSWER + message

    tac.on_message_ready(answer)

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            token = self.headers.get("I-Twilio-Idempotency-Token")
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()
            asyncio.run_coroutine_threadsafe(channel.process_webhook(body, token), loop)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Webhook)
    sys.stdout.write(f"ready http://127.0.0.1:{server.server_port}/webhook\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    os.environ.setdefault("TWILIO_PHONE_NUMBER", "+15557650000")
    main(sys.argv[1], int(sys.argv[2]))
