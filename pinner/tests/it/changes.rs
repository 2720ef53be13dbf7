//! Announcements between pinners, and what becomes of them while NATS is away.

use crate::stage::{
    containers::{NATS, nats_url},
    proxy::Proxy,
    wait::{SOON, until},
};
use anchorage::{
    changed::{self, Changed, Changes, Watch},
    config::{self, Secret},
    nats::Nats,
};
use futures::FutureExt;
use std::time::{Duration, Instant};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// A pinner as far as announcements go, at this URL.
async fn listener(url: &str) -> (Nats, Changes) {
    let config = config::Nats { url: Secret::new(url), credentials: None, replicas: 1 };
    let nats = Nats::connect(&config, "test").await.unwrap();
    let (changes, stop) = (Changes::default(), CancellationToken::new());
    tokio::spawn(changed::send(nats.clone(), changes.clone(), stop.clone()));
    tokio::spawn(changed::receive(nats.clone(), changes.clone(), stop));
    until("it is connected", SOON, async || nats.is_connected().then_some(())).await;
    (nats, changes)
}

/// Returns once announcements arrive and what was on its way has arrived, so that the next one is the one that is meant.
async fn settle(from: &Changes, what: Changed, by: &mut Watch) {
    let begun = Instant::now();
    while begun.elapsed() < SOON {
        from.announce(what);
        let arrived = timeout(Duration::from_millis(200), by.changed()).await.is_ok();
        while timeout(Duration::from_millis(300), by.changed()).await.is_ok() {}
        if arrived {
            return;
        }
    }
    panic!("no announcement of {what:?} arrives");
}

async fn heard(watch: &mut Watch) -> bool {
    timeout(SOON, watch.changed()).await.is_ok()
}

#[tokio::test]
async fn a_change_is_heard_by_all_pinners_by_kind_and_what_was_missed_is_made_up_for() {
    let direct = nats_url(*NATS);
    let proxy = Proxy::to(*NATS).await;
    let proxied = direct.replace(&format!(":{}", *NATS), &format!(":{}", proxy.port));
    let ((_, near), (far_nats, far)) = (listener(&direct).await, listener(&proxied).await);
    let (mut map, mut limits) = (far.watch(Changed::Map), far.watch(Changed::Limits));
    settle(&near, Changed::Map, &mut map).await;
    settle(&near, Changed::Limits, &mut limits).await;

    near.announce(Changed::Map);
    assert!(heard(&mut map).await);
    assert_eq!(limits.changed().now_or_never(), None, "nobody announced limits");
    let mut own = near.watch(Changed::Limits);
    near.announce(Changed::Limits);
    assert_eq!(own.changed().now_or_never(), Some(()), "the announcer itself needs no NATS");
    assert!(heard(&mut limits).await);

    // What is announced while it cannot be sent is sent later; what was missed counts as changed.
    proxy.cut();
    until("it is cut off", SOON, async || (!far_nats.is_connected()).then_some(())).await;
    let mut tokens = near.watch(Changed::Tokens);
    let mut missed = far.watch(Changed::Nodes);
    near.announce(Changed::Nodes);
    far.announce(Changed::Tokens);
    assert_eq!(missed.changed().now_or_never(), None);
    proxy.mend();
    assert!(heard(&mut missed).await, "an announcement missed while cut off");
    assert!(heard(&mut tokens).await, "an announcement made while cut off");
}
