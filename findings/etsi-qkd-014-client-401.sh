#!/bin/sh
# etsi-qkd-014-client (Python) raises on the standard's 401, and drops what a KME says about a key.
#
# Version: etsi-qkd-014-client 0.9.0 from PyPI.
# The standard: ETSI GS QKD 014 V1.1.1, clause 5 (tables 4, 6 and 8): 401 has no data model, "-", while
#   400 and 503 carry an Error. Clause 6.3: each key of a container may have `key_ID_extension` and
#   `key_extension`, both optional objects.
# Seen: the client reads every answer but 200 as JSON: an empty 401 raises JSONDecodeError from inside
#   `get_status`, where the documentation promises the pair (401, DataError). Of a container it keeps
#   key_ID_extension and leaves key_extension None, though its class has the field.
# Output: status: JSONDecodeError; key_id_extension {'a': 1}, key_extension None
# For a KMS: answer 401 with an Error body too, {"message": "..."}; the standard does not forbid it.
#   What such a client shall know about a key has to stand in key_ID_extension.
# Needs: python3, openssl.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check etsi-qkd-014-client==0.9.0 requests==2.34.2
cat > answers.json <<'END'
{"/status": [401, null],
 "/enc_keys": [200, {"keys": [{
   "key_ID": "bc490419-7d60-487f-adc1-4ddcc177c139", "key_ID_extension": {"a": 1},
   "key": "AAECAwQFBgcICQoLDA0ODw==", "key_extension": {"b": 2}}]}]}
END
cat > probe.py <<'END'
import os
import sys

from etsi_qkd_014_client import QKD014Client

client = QKD014Client(f"localhost:{os.environ['PORT']}", "cert.pem", "key.pem", "ca.pem")
try:
    status = str(client.get_status("sae-b")[0])
except Exception as error:
    status = type(error).__name__
_, container = client.get_key("sae-b")
key = container.keys[0]
print(f"status: {status}; key_id_extension {key.key_id_extension}, "
      f"key_extension {key.key_extension}")
seen = (status, key.key_id_extension, key.key_extension)
as_stated = seen == ("JSONDecodeError", {"a": 1}, None)
print("as stated" if as_stated else "changed: the client no longer behaves as stated")
sys.exit(not as_stated)
END
python3 "$here/kme.py" . venv/bin/python probe.py
