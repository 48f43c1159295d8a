"""Stand-in for a KME: mutual TLS on loopback, fixed answers, requests written down.

`python3 kme.py FOLDER COMMAND ...` makes the certificates in FOLDER (ca.pem, and cert.pem with
key.pem for server and SAE alike), listens, runs COMMAND with PORT in its environment and ends with
its exit code. FOLDER/answers.json maps the end of a path to [status, body]; a body of null is an
empty one. Each request becomes one line of FOLDER/seen: verb, path, body. With
CLIENT_CERTIFICATE=optional in the environment, clients without a certificate get in. Needs openssl.
"""

import http.server
import json
import os
import pathlib
import ssl
import subprocess
import sys
import threading

SUBJECT = ["-subj", "/CN=sae-a", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]


def certificates(folder: pathlib.Path) -> None:
    """Make a CA and one certificate for both ends."""
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    ca = ["-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Example CA"]
    issued = ["-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "basicConstraints=CA:FALSE"]
    leaf = ["-keyout", "key.pem", "-out", "cert.pem", *SUBJECT, *issued]
    for rest in (ca, leaf):
        command = ["openssl", "req", "-x509", *curve, *rest]
        subprocess.run(command, cwd=folder, check=True, stderr=subprocess.DEVNULL)


def server(folder: pathlib.Path) -> http.server.ThreadingHTTPServer:
    """Build the server; its port is any free one."""
    answers = json.loads((folder / "answers.json").read_text())
    lock = threading.Lock()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            with lock, (folder / "seen").open("a") as seen:
                seen.write(f"{self.command} {self.path} {body}\n")
            path = self.path.partition("?")[0]
            status, content = next(
                (answer for end, answer in answers.items() if path.endswith(end)),
                [404, {"message": "no such path"}],
            )
            data = b"" if content is None else json.dumps(content).encode()
            self.send_response(status)
            if data:
                self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: the requests are in the file."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    context.load_verify_locations(folder / "ca.pem")
    optional = os.environ.get("CLIENT_CERTIFICATE") == "optional"
    context.verify_mode = ssl.CERT_OPTIONAL if optional else ssl.CERT_REQUIRED
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.socket = context.wrap_socket(made.socket, server_side=True)
    return made


def main() -> int:
    """Serve while the command runs."""
    folder = pathlib.Path(sys.argv[1])
    certificates(folder)
    made = server(folder)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    environment = {**os.environ, "PORT": str(made.server_port)}
    try:
        return subprocess.run(sys.argv[2:], env=environment, check=False).returncode
    finally:
        made.shutdown()
        made.server_close()


if __name__ == "__main__":
    sys.exit(main())
