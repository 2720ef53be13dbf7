//! Bodies of `POST /pins`, one table: what is accepted, and what is refused under which name.

use super::Scene;
use crate::stage::{cids, client::is};
use cid::multihash::Multihash;
use reqwest::Method;
use serde_json::{Value, json};

/// What becomes of a body.
enum Fate {
    /// It is accepted.
    Accepted,
    /// It is refused, and the details hold this word.
    Refused(&'static str),
}
use Fate::{Accepted, Refused};

const CODEC_RAW: u64 = 0x55;
const IDENTITY: u64 = 0x00;

fn cid_of(codec: u64, hash: u64, digest: &[u8]) -> cid::CidGeneric<256> {
    cid::CidGeneric::new_v1(codec, Multihash::wrap(hash, digest).unwrap())
}

fn in_base(base: cid::multibase::Base) -> String {
    // Digests are tried until base64 needs a slash, which is no path.
    let spelled = (0..=255).map(|byte| cid_of(CODEC_RAW, 0x12, &[byte; 32]).to_string_of_base(base).unwrap());
    let mut spelled: Vec<_> = spelled.collect();
    let with_slash = spelled.iter().position(|text| text.contains('/')).unwrap_or(0);
    spelled.swap_remove(with_slash)
}

fn pairs(pairs: usize) -> Value {
    (0..pairs).map(|n| (n.to_string(), json!(""))).collect::<serde_json::Map<_, _>>().into()
}

/// A body of so many bytes.
fn padded(bytes: usize) -> String {
    let body = json!({"cid": cids::fresh()}).to_string();
    format!("{body}{}", " ".repeat(bytes - body.len()))
}

fn limits() -> Vec<(String, Fate)> {
    let with = |field: &str, value: Value| json!({"cid": cids::fresh(), field: value}).to_string();
    vec![
        (with("name", json!("x".repeat(255))), Accepted),
        (with("name", json!("\u{10ffff}".repeat(255))), Accepted),
        (with("name", json!("x".repeat(256))), Refused("name")),
        (with("meta", pairs(1_000)), Accepted),
        (with("meta", pairs(1_001)), Refused("meta")),
        (with("meta", json!({"k": "v".repeat(16 * 1024 - 1)})), Accepted),
        (with("meta", json!({"k": "v".repeat(16 * 1024)})), Refused("meta")),
        (with("meta", json!({"k".repeat(16 * 1024): "v"})), Refused("meta")),
        (with("origins", json!(vec!["/ip4/10.0.0.1/tcp/1"; 21])), Accepted),
        (padded(1024 * 1024), Accepted),
    ]
}

fn types() -> Vec<(String, Fate)> {
    let cid = cids::fresh();
    let mut cases = Vec::new();
    let values = [json!(7), json!(1.5), json!(-1), json!(true), json!([]), json!({}), json!([7]), json!({"a": null})];
    for value in values.iter().chain([&json!("text"), &json!([null]), &json!({"a": ["b"]})]) {
        for field in ["cid", "name", "origins", "meta"] {
            let fits = match field {
                "cid" | "name" => value.is_string(),
                "origins" => *value == json!([]),
                _ => *value == json!({}),
            };
            let mut body = json!({"cid": cid, field: value});
            let fate = match (field, fits) {
                ("cid", true) => Refused("cid"),
                (_, true) => Accepted,
                _ => Refused("JSON"),
            };
            // What we do not know is nobody's business, whatever it holds.
            body["unknown"] = json!({"cid": value, "\u{0}": [value]});
            cases.push((body.to_string(), fate));
        }
    }
    for field in ["cid", "name", "origins", "meta"] {
        let value = if field == "cid" { json!(cid) } else { Value::Null };
        let twice = format!(r#"{{"cid":"{cid}","{field}":{value},"{field}":{value}}}"#);
        cases.push((twice, Refused("duplicate")));
    }
    let text = |text: &str| format!(r#"{{"cid":"{cid}",{text}}}"#);
    cases.extend([
        (text(r#""meta":{"a":"1","a":"2"}"#), Accepted),
        (text(r#""x":1,"x":2"#), Accepted),
        (text(r#""name":"\ud800""#), Refused("JSON")),
        (text(r#""name":"\udc00\ud800""#), Refused("JSON")),
        (text(r#""meta":{"\ud800":""}"#), Refused("JSON")),
        (text(r#""name":"\ud83d\ude80""#), Accepted),
        (text(r#""name":"a\u0000""#), Refused("name")),
        (text(r#""meta":{"\u0000":""}"#), Refused("meta")),
        (text(r#""meta":{"":"\u0000"}"#), Refused("meta")),
        (text(r#""origins":["\u0000"]"#), Accepted),
        (text("\"name\":\"a\nb\""), Refused("JSON")),
        (text(r#""name":1e999"#), Refused("JSON")),
        (format!("\u{feff}{}", json!({"cid": cid})), Refused("JSON")),
        (format!("{0}{0}", json!({"cid": cid})), Refused("JSON")),
    ]);
    cases
}

fn odd_cids() -> Vec<(String, Fate)> {
    use cid::multibase::Base;
    let (v0, v1) = cids::both_versions();
    let mut cases: Vec<(String, Fate)> = vec![
        (v0.clone(), Accepted),
        (v0.to_lowercase(), Refused("cid")),
        (format!("/ipfs/{v1}"), Refused("cid")),
        (format!("{v1}/a/path"), Refused("cid")),
        (format!("ipfs://{v1}"), Refused("cid")),
        (format!("https://example.org/ipfs/{v1}"), Refused("cid")),
        (format!("m/ipfs/{v1}"), Refused("cid")),
        (format!(" {v1}"), Refused("cid")),
        (format!("{v1}\n"), Refused("cid")),
        (format!("{v1}aaaaaaaa"), Refused("cid")),
        (format!("{v1}{v1}"), Refused("cid")),
        (format!("!{v1}"), Refused("cid")),
        (format!("ü{v1}"), Refused("cid")),
        ("b".repeat(100_000), Refused("cid")),
        ("Qm".into(), Refused("cid")),
        ("b".into(), Refused("cid")),
        (cid_of(CODEC_RAW, 0x99, &[1; 32]).to_string(), Refused("cid")),
        (cid_of(CODEC_RAW, 0x12, &[1; 19]).to_string(), Refused("cid")),
        (cid_of(CODEC_RAW, 0x12, &[1; 129]).to_string(), Refused("cid")),
        (cid_of(CODEC_RAW, IDENTITY, b"").to_string(), Accepted),
        (cid_of(CODEC_RAW, IDENTITY, b"small").to_string(), Accepted),
        (cid_of(CODEC_RAW, IDENTITY, &[1; 128]).to_string(), Accepted),
        (cid_of(CODEC_RAW, IDENTITY, &[1; 129]).to_string(), Refused("cid")),
        (cid_of(0x0030_0000, 0x12, &[1; 32]).to_string(), Accepted),
        (cid_of(u64::MAX >> 1, 0x12, &[1; 32]).to_string(), Accepted),
        (cid_of(1 << 63, 0x12, &[1; 32]).to_string(), Refused("63 bits")),
    ];
    for base in [Base::Base2, Base::Base16Upper, Base::Base32Upper, Base::Base58Btc, Base::Base64, Base::Base64UrlPad] {
        cases.push((in_base(base), Accepted));
    }
    cases.extend([1, 2, v1.len() / 2, v1.len() - 1].map(|length| (v1[..length].to_owned(), Refused("cid"))));
    cases.extend([2, v0.len() / 2, v0.len() - 1].map(|length| (v0[..length].to_owned(), Refused("cid"))));
    cases.into_iter().map(|(cid, fate)| (json!({ "cid": cid }).to_string(), fate)).collect()
}

#[tokio::test]
async fn every_body_is_accepted_and_echoed_or_refused_under_the_name_of_what_is_wrong() {
    let scene = Scene::new().await;
    let mut acknowledged = 0;
    for (body, fate) in limits().into_iter().chain(types()).chain(odd_cids()) {
        let answer = scene.org.send(scene.org.request(Method::POST, "/pins").body(body.clone())).await;
        let what: String = body.chars().take(120).collect();
        match fate {
            Refused(says) => is(&answer, 400, "BAD_REQUEST", says, &what),
            Accepted => {
                assert_eq!(answer.status, 202, "{what}: {answer:?}");
                acknowledged += 1;
                let sent: Value = serde_json::from_str(&body).unwrap();
                for field in ["cid", "name", "meta"] {
                    assert_eq!(answer.json()["pin"][field], sent[field], "{what}: {field} is echoed");
                }
            }
        }
    }
    let over = scene.org.send(scene.org.request(Method::POST, "/pins").body(padded(1024 * 1024 + 1))).await;
    is(&over, 413, "PAYLOAD_TOO_LARGE", "1 MiB", "a byte too many");
    scene.check(acknowledged).await;
}
