//! Who acts, and what an operator says that may not.

use std::time::{Duration, Instant};

use anchorage_operator::leader::{Candidate, Identity};
use anchorage_operator::run::{StartError, check_access};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use tokio_util::sync::CancellationToken;

use crate::scene::Scene;
use crate::server::server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_operators_one_leads_and_the_other_follows_at_once_when_it_resigns() {
    let scene = Scene::set("leadership").await;
    let client = server().client_of_service_account(&scene.namespace, "anchorage-operator");
    let candidate = |name: &str| {
        let me = Identity { name: name.to_owned(), pod: None };
        Candidate::new(client.clone(), &scene.namespace, "anchorage-operator", me)
    };
    let (mut first, mut second, stop) = (candidate("first"), candidate("second"), CancellationToken::new());
    assert!(first.wait_for_lead(&stop).await);
    let following = tokio::spawn({
        let stop = stop.clone();
        async move { second.wait_for_lead(&stop).await }
    });
    let leases: Api<Lease> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let holder = async || leases.get("anchorage-operator").await.unwrap().spec.unwrap().holder_identity;
    tokio::time::timeout(Duration::from_secs(5), first.keep_lead()).await.expect_err("the lead is kept");
    assert_eq!(holder().await.as_deref(), Some("first"));
    assert!(!following.is_finished());

    let resigned = Instant::now();
    first.resign().await;
    assert_ne!(holder().await.as_deref(), Some("first"), "it gave the lease back");
    assert!(following.await.unwrap());
    assert!(resigned.elapsed() < Duration::from_secs(10), "it did not wait for the lease to run out");
    assert_eq!(holder().await.as_deref(), Some("second"));
    tokio::time::timeout(Duration::from_secs(10), first.keep_lead()).await.expect("the lead is lost");
    scene.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_without_permissions_says_which_and_how_to_get_them() {
    let scene = Scene::set("permissions").await;
    let stranger = server().client_of_service_account(&scene.namespace, "stranger");
    let error = check_access(&stranger, &scene.namespace).await.unwrap_err();
    assert!(matches!(error, StartError::Forbidden { .. }), "{error}");
    assert!(error.to_string().contains("Bind the chart's Role"), "{error}");
    let operator = server().client_of_service_account(&scene.namespace, "anchorage-operator");
    check_access(&operator, &scene.namespace).await.unwrap();
    scene.strike().await;
}
