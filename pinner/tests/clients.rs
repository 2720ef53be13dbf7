//! What users have in their hands: Kubo's `ipfs pin remote` and its policy for MFS, and Helia's way of listing, against
//! `anchorage dev`. The first part mirrors Kubo's own test of remote pinning.
//!
//! Needs Postgres, nats-server and ipfs; `make tools` gets them.

#![expect(clippy::unwrap_used, reason = "what fails in a helper fails the test")]

#[path = "clients/kubo.rs"]
mod kubo;
#[path = "dev/running.rs"]
#[expect(dead_code, reason = "shared with the tests of `anchorage dev`")]
mod running;

use std::{collections::BTreeSet, time::Instant};

use serde_json::{Value, json};

use kubo::Kubo;
use running::{Dev, PATIENCE, TestDir, pause};

const ALL: &str = "--status=queued,pinning,pinned,failed";
const SERVICE: &str = "--service=anchorage";

/// The service, and a user's Kubo that knows it under the name `anchorage`.
struct Scene {
    dev: Dev,
    kubo: Kubo,
    _dir: TestDir,
}

impl Scene {
    async fn new() -> Self {
        let mut scene = Self::before_the_daemon();
        scene.kubo.start().await;
        scene
    }

    fn before_the_daemon() -> Self {
        let dir = TestDir::new();
        let dev = Dev::start(1, &dir.state());
        let kubo = Kubo::new(dev.text("/swarmKey"));
        kubo.ipfs(&["pin", "remote", "service", "add", "anchorage", dev.text("/endpoint"), dev.text("/orgs/demo")]);
        Self { dev, kubo, _dir: dir }
    }

    /// `ipfs pin remote` with the service.
    fn remote(&self, args: &[&str]) -> String {
        self.kubo.ipfs(&[&["pin", "remote"], args, &[SERVICE]].concat())
    }

    /// `ipfs pin remote ls`, one object a pin.
    fn list(&self, args: &[&str]) -> Vec<Value> {
        self.kubo.json(&[&["pin", "remote", "ls", SERVICE], args].concat())
    }

    /// A CID of content that nobody has.
    fn nowhere(&self, n: usize) -> String {
        let file = self.kubo.add(&format!("{n} of {}", self.dev.pid()), 1);
        // Known to exist, and gone before anybody could fetch it.
        self.kubo.ipfs(&["pin", "rm", &file]);
        self.kubo.ipfs(&["block", "rm", &file]);
        file
    }
}

#[tokio::test]
async fn ipfs_pin_remote_adds_lists_and_removes() {
    let scene = Scene::new().await;
    let (kubo, dev) = (&scene.kubo, &scene.dev);

    // In the foreground it waits until the service has fetched the file from this very Kubo, which is its origin.
    let cid = kubo.add(&format!("a file of {}", dev.pid()), 1);
    let said = scene.remote(&["add", "--name=foreground", &cid]);
    assert!(said.contains("pinned") && said.contains(&cid) && said.contains("foreground"), "{said}");
    let [pin] = &scene.list(&["--name=foreground", "--status=pinned"])[..] else { panic!("not one") };
    assert_eq!((&pin["Cid"], &pin["Status"], &pin["Name"]), (&json!(cid), &json!("pinned"), &json!("foreground")));
    assert!(kubo.ipfs(&["swarm", "peers"]).contains("/p2p/"), "the origin is connected to its delegate");

    // In the background it only asks.
    let nowhere = scene.nowhere(0);
    let said = scene.remote(&["add", "--background", "--name=background", &nowhere]);
    assert!(said.contains("queued") || said.contains("pinning"), "{said}");
    assert_eq!(scene.list(&["--name=background"]), Vec::<Value>::new(), "without a status, pinned are meant");
    assert_eq!(scene.list(&["--name=background", "--status=queued,pinning"])[0]["Cid"], json!(nowhere));
    assert_eq!(scene.list(&[&format!("--cid={cid}")])[0]["Name"], "foreground");
    assert_eq!(scene.list(&[&format!("--cid={cid},{nowhere}"), ALL]).len(), 2);
    assert_eq!(scene.list(&["--name=BACKGROUND", ALL]).len(), 0, "names are compared as they are");

    // One DAG under two spellings: each comes back as it was sent, and both are found by either.
    let v0 = kubo.add(&format!("spelled twice, of {}", dev.pid()), 0);
    let v1 = kubo.ipfs(&["cid", "format", "-v", "1", "-b", "base32", &v0]);
    scene.remote(&["add", "--name=v0", &v0]);
    scene.remote(&["add", "--name=v1", &v1]);
    for spelling in [&v0, &v1] {
        let found = scene.list(&[&format!("--cid={spelling}")]);
        let cids: Vec<_> = found.iter().map(|pin| pin["Cid"].as_str().unwrap()).collect();
        assert_eq!(cids, [&v1, &v0], "newest first");
    }

    // Removing.
    scene.remote(&["add", "--name=twice", &cid]);
    scene.remote(&["add", "--name=twice", &cid]);
    let refused = kubo.run(&["pin", "remote", "rm", SERVICE, "--name=twice"]);
    assert!(!refused.good && refused.err.contains("add --force to confirm the bulk removal"), "{refused:?}");
    assert_eq!(scene.list(&["--name=twice"]).len(), 2);
    scene.remote(&["rm", "--name=twice", "--force"]);
    assert_eq!(scene.list(&["--name=twice"]).len(), 0);
    scene.remote(&["rm", "--name=v0"]);
    assert_eq!(scene.list(&[&format!("--cid={v0}")]).len(), 1, "the other one stays");
    scene.remote(&["rm", ALL, "--force"]);
    assert_eq!(scene.list(&[ALL]), Vec::<Value>::new());
}

#[tokio::test]
async fn ipfs_pin_remote_shows_what_is_wrong_and_how_many_pins_there_are() {
    let scene = Scene::new().await;
    let (kubo, dev) = (&scene.kubo, &scene.dev);
    let add = |name: &str, url: &str, token: &str| {
        kubo.ipfs(&["pin", "remote", "service", "add", name, url, token]);
    };
    add("no-token", dev.text("/endpoint"), "nonsense");
    add("wrong-path", &format!("{}/wrong", dev.text("/endpoint")), dev.text("/orgs/demo"));
    add("other", dev.text("/endpoint"), dev.text("/orgs/other"));

    for (service, says) in
        [("no-token", ["UNAUTHORIZED", "Authorization: Bearer"]), ("wrong-path", ["404", "NOT_FOUND"])]
    {
        for verb in [&["ls"][..], &["add", "--background", "bafkqaaa"], &["rm", "--force"]] {
            let said = kubo.run(&[&["pin", "remote"], verb, &[&format!("--service={service}")]].concat());
            assert!(!said.good, "{service} {verb:?}: {said:?}");
            assert!(says.iter().all(|word| said.err.contains(word)), "{service} {verb:?}: {said:?}");
        }
    }
    // Who has no origins to offer is connected by dialling the delegates of the answer.
    let node = kubo_id(dev).await;
    assert!(!kubo.ipfs(&["swarm", "peers"]).contains(&node), "connected before anything was asked");
    scene.remote(&["add", "--background", "--name=waits", &scene.nowhere(0)]);
    assert!(kubo.ipfs(&["swarm", "peers"]).contains(&node), "the delegates are not dialled");
    let cid = kubo.add(&format!("counted, of {}", dev.pid()), 1);
    scene.remote(&["add", "--name=done", &cid]);

    // Kubo counts each status by a request of its own, at a time of its own: a pin on its way would be seen twice or never.
    let deadline = Instant::now() + PATIENCE;
    while scene.list(&["--name=waits", "--status=pinning"]).is_empty() {
        assert!(Instant::now() < deadline, "nobody takes it up: {:?}", scene.list(&[ALL]));
        pause().await;
    }
    let stats = &kubo.json(&["pin", "remote", "service", "ls", "--stat"])[0]["RemoteServices"];
    let of = |name: &str| stats.as_array().unwrap().iter().find(|it| it["Service"] == name).unwrap()["Stat"].clone();
    for invalid in ["no-token", "wrong-path"] {
        assert_eq!(of(invalid)["Status"], "invalid");
    }
    let (own, other) = (of("anchorage"), of("other"));
    assert_eq!((&own["Status"], &other["Status"]), (&json!("valid"), &json!("valid")));
    let counts = &own["PinCount"];
    let waiting = counts["Queued"].as_u64().unwrap() + counts["Pinning"].as_u64().unwrap();
    assert_eq!(
        (waiting, &counts["Pinned"], &counts["Failed"]),
        (1, &json!(1), &json!(0)),
        "{counts} {:?}",
        scene.list(&[ALL])
    );
    assert_eq!(other["PinCount"], json!({"Queued": 0, "Pinning": 0, "Pinned": 0, "Failed": 0}));

    kubo.ipfs(&["pin", "remote", "service", "rm", "other"]);
    assert!(!kubo.ipfs(&["pin", "remote", "service", "ls"]).contains("other"));
}

/// The peer id of the service's own Kubo.
async fn kubo_id(dev: &Dev) -> String {
    let url = format!("{}/api/v0/id", dev.texts("/kubo")[0]);
    let id: Value = reqwest::Client::new().post(url).send().await.unwrap().json().await.unwrap();
    id["ID"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_pin_is_seen_once_by_kubos_pages_of_ten_and_by_helias_of_a_thousand() {
    const PINS: usize = 25;
    let scene = Scene::new().await;
    let mut asked = BTreeSet::new();
    for n in 0..PINS {
        let cid = scene.nowhere(n);
        scene.remote(&["add", "--background", &format!("--name=pin {n}"), &cid]);
        asked.insert(cid);
    }
    let listed = scene.list(&[ALL]);
    let names: Vec<_> = listed.iter().map(|pin| pin["Name"].as_str().unwrap().to_owned()).collect();
    let newest_first: Vec<_> = (0..PINS).rev().map(|n| format!("pin {n}")).collect();
    assert_eq!(names, newest_first);

    // Helia asks for what is after the last of each page until a page is empty; with the standard's order, newest first, it
    // sees each pin but the newest again and must still come to an end.
    let (http, mut seen, mut after) = (reqwest::Client::new(), BTreeSet::new(), None);
    for page in 0.. {
        assert!(page <= PINS, "it never ends");
        let mut query = vec![("limit", "1000".to_owned()), ("status", "queued,pinning,pinned,failed".to_owned())];
        query.extend(after.clone().map(|after| ("after", after)));
        let request = http.get(format!("{}/pins", scene.dev.text("/endpoint"))).query(&query);
        let answer = request.bearer_auth(scene.dev.text("/orgs/demo")).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        let pins = answer["results"].as_array().unwrap();
        let Some(last) = pins.last() else { break };
        seen.extend(pins.iter().map(|pin| pin["pin"]["cid"].as_str().unwrap().to_owned()));
        after = Some(last["created"].as_str().unwrap().to_owned());
    }
    assert_eq!(seen, asked);

    scene.remote(&["rm", ALL, "--force"]);
    let stats = scene.kubo.ipfs(&["pin", "remote", "service", "ls", "--stat"]);
    assert!(stats.contains("0/0/0/0"), "{stats}");
}

#[tokio::test]
async fn the_policy_for_mfs_pins_its_root_and_replaces_that_pin_when_it_changes() {
    let mut scene = Scene::before_the_daemon();
    let policy = json!({"Enable": true, "PinName": "my files", "RepinInterval": "1s"});
    scene.kubo.configure("Pinning.RemoteServices.anchorage.Policies.MFS", &policy);
    scene.kubo.start().await;
    let kubo = &scene.kubo;

    for (step, content) in ["first", "second"].into_iter().enumerate() {
        let file = kubo.add(&format!("{content} of {}", scene.dev.pid()), 1);
        kubo.ipfs(&["files", "cp", &format!("/ipfs/{file}"), &format!("/{step}")]);
        let root = kubo.json(&["files", "stat", "/"])[0]["Hash"].as_str().unwrap().to_owned();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let pins = scene.list(&["--name=my files", ALL]);
            assert!(pins.len() <= 1, "replaced, never added to: {pins:?}");
            if pins.iter().any(|pin| pin["Cid"] == root.as_str() && pin["Status"] == "pinned") {
                break;
            }
            assert!(Instant::now() < deadline, "the root {root} is not pinned: {pins:?}");
            pause().await;
        }
    }
}
