#!/bin/sh
# etsi014-client (Rust crate and C library) drops the further SAEs of a multicast key.
#
# Version: etsi014-client 0.2.0, the crate.
# The standard: ETSI GS QKD 014 V1.1.1, clause 6.2: the SAEs that share a key with the slave SAE of
#   the path stand in the member `additional_slave_SAE_IDs` of the key request. Names are
#   case-sensitive; a KME need not refuse members it does not know.
# Seen: `get_keys` takes `additional_target_sae_ids` and sends them under that very name. The crate
#   renames the member for reading, and this structure is written only. The member is sent in each
#   request, empty when there are no further SAEs.
# Output: POST /api/v1/keys/sae-b/enc_keys
#   {"number":1,"size":256,"additional_target_sae_ids":["sae-c"]}
# For a KMS: the master gets 200 and a key, and believes that sae-c may fetch it; sae-c gets 401
#   (clause 6.4). A KMS that refuses unknown members refuses each request of this client. The way
#   out is to read the client's name as a synonym when the standard's name is absent.
# Needs: cargo, a C compiler, make, libssl-dev, python3, openssl. About three minutes.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

mkdir src
cat > Cargo.toml <<'END'
[package]
name = "probe"
version = "0.0.0"
edition = "2021"
[dependencies]
etsi014-client = "=0.2.0"
secrets = { version = "=1.3.0", features = ["use-libsodium-sys"] }
tokio = { version = "=1.52.3", features = ["rt", "net", "time"] }
END
cat > src/main.rs <<'END'
use etsi014_client::ETSI014Client;
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = std::env::var("PORT")?.parse()?;
    let (cert, key, ca) = ("cert.pem".into(), "key.pem".into(), "ca.pem".into());
    let client = ETSI014Client::new("localhost", port, &cert, &key, &ca).expect("client");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let keys = runtime.block_on(client.get_keys(256, "sae-b", &["sae-c"], 1)).expect("keys");
    println!("keys: {}", keys.len());
    Ok(())
}
END
cat > answers.json <<'END'
{"/enc_keys": [200, {"keys": [{
  "key_ID": "bc490419-7d60-487f-adc1-4ddcc177c139",
  "key": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}]}]}
END
cargo build --quiet
python3 "$here/kme.py" . target/debug/probe
cat seen
if grep -q '"additional_target_sae_ids":\["sae-c"\]' seen &&
  ! grep -q additional_slave_SAE_IDs seen; then
  echo "as stated: the further SAE is sent under another name than the standard's"
else
  echo "changed: the request is no longer as stated" >&2
  exit 1
fi
