//! `anchorage-operator run` acts on a cluster, `anchorage-operator crds` prints the definitions of its kinds.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anchorage_operator::crd::publish;
use anchorage_operator::health::{WatchHealth, describe};
use anchorage_operator::http::{self, Sight};
use anchorage_operator::leader::Candidate;
use anchorage_operator::metrics::Metrics;
use anchorage_operator::run::{self, Scope};
use anchorage_operator::settings::{Flags, LogFormat, Settings};
use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Runs Anchorage, the IPFS pinning service, on Kubernetes.
#[derive(Parser)]
#[command(version, about)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Watch a namespace and run its AnchorageClusters
    Run(Box<Flags>),
    /// Print the CustomResourceDefinitions as YAML, for `kubectl apply --server-side -f -`
    Crds,
}

fn main() -> ExitCode {
    match CommandLine::parse().command {
        Command::Crds => report(print_crds()),
        Command::Run(flags) => match Settings::resolve(*flags, std::env::var("POD_NAMESPACE").ok()) {
            Ok(settings) => report(run_operator(settings)),
            Err(error) => {
                eprintln!("anchorage-operator: {error}");
                ExitCode::from(2)
            }
        },
    }
}

fn report(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("anchorage-operator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn print_crds() -> anyhow::Result<()> {
    for definition in publish::definitions() {
        print!("---\n{}", publish::yaml(&definition)?);
    }
    Ok(())
}

#[tokio::main]
async fn run_operator(settings: Settings) -> anyhow::Result<()> {
    begin_log(&settings)?;
    // A client may be built before kube chooses, so the choice is made here.
    rustls::crypto::ring::default_provider().install_default().ok();
    let mut config =
        kube::Config::infer().await.context("no Kubernetes configuration, neither in-cluster nor a kubeconfig")?;
    // Retries belong to the controllers' own back-off: hidden ones would hold a reconciliation for minutes.
    config.default_retry = false;
    config.connect_timeout = Some(std::time::Duration::from_secs(10));
    let client = kube::Client::try_from(config).context("Kubernetes client")?;
    run::check_access(&client, &settings.namespace).await?;

    let stop = CancellationToken::new();
    let sight = Sight {
        health: Arc::new(WatchHealth::default()),
        metrics: Arc::new(Metrics::new()),
        leads: Arc::new(AtomicBool::new(false)),
        ending: Arc::new(AtomicBool::new(false)),
    };
    let serving = http::serve(settings.listen, sight.clone());
    let acting = lead_and_act(client, settings.clone(), sight.clone(), stop.clone());
    let ending = async {
        wait_for_signal().await?;
        tracing::info!("ending");
        sight.ending.store(true, Ordering::Relaxed);
        stop.cancel();
        anyhow::Ok(())
    };
    let acting = async {
        tokio::try_join!(acting, async {
            tokio::select! { result = ending => result, () = stop.cancelled() => Ok(()) }
        })
    };
    tokio::select! {
        result = serving => result.with_context(|| format!("listen on {}", settings.listen)),
        result = acting => result.map(|_| ()),
    }
}

/// Waits for the Lease, acts while it is held, gives it back. Losing it ends the process: its successor begins afresh.
async fn lead_and_act(
    client: kube::Client,
    settings: Settings,
    sight: Sight,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let me = std::env::var("POD_NAME").unwrap_or_else(|_| format!("process-{}", std::process::id()));
    let mut candidate = Candidate::new(client.clone(), &settings.namespace, &settings.lease, me);
    if !candidate.wait_for_lead(&stop).await {
        return Ok(());
    }
    tracing::info!(lease = settings.lease, "leading");
    sight.leads.store(true, Ordering::Relaxed);
    sight.metrics.leads(true);
    let scope = Scope {
        namespace: settings.namespace,
        default_image: settings.default_image,
        node_access: settings.node_access,
        admin_url: settings.admin_url,
    };
    let acting = run::run(client, scope, sight.metrics.clone(), sight.health.clone(), stop.clone());
    // The lead is kept until the last reconciliation has ended.
    let done = CancellationToken::new();
    let acting = async {
        let result = acting.await;
        done.cancel();
        result
    };
    tokio::pin!(acting);
    let kept = tokio::select! {
        result = &mut acting => {
            result.map_err(|error| anyhow::anyhow!(describe(&error)))?;
            true
        }
        kept = candidate.keep_lead(&done) => kept,
    };
    candidate.resign().await;
    stop.cancel();
    anyhow::ensure!(kept, "lost the lease {}; another operator may act now", settings.lease);
    Ok(())
}

fn begin_log(settings: &Settings) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&settings.log_level).with_context(|| {
        format!("log level {:?} is none of error, warn, info, debug or module=level", settings.log_level)
    })?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match settings.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    Ok(())
}

async fn wait_for_signal() -> anyhow::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        result = tokio::signal::ctrl_c() => result?,
    }
    Ok(())
}
