//! `anchorage-operator run` acts on a cluster, `anchorage-operator crds` prints the definitions of its kinds.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anchorage_operator::crd::publish;
use anchorage_operator::health::WatchHealth;
use anchorage_operator::http::{self, Sight};
use anchorage_operator::leader::{Candidate, Identity};
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
    Crds {
        /// Write one file per definition into this folder instead
        #[arg(long, value_name = "FOLDER")]
        write: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    match CommandLine::parse().command {
        Command::Crds { write } => report(crds(write.as_deref())),
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

fn crds(folder: Option<&Path>) -> anyhow::Result<()> {
    for definition in publish::definitions() {
        let yaml = publish::yaml(&definition)?;
        match folder {
            None => print!("{yaml}"),
            Some(folder) => {
                let path = folder.join(publish::file_name(&definition));
                std::fs::write(&path, yaml).with_context(|| format!("write {}", path.display()))?;
            }
        }
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
    let ending = end_on_signal(sight.clone(), stop.clone());
    let acting = lead_and_act(client, &settings, &sight, &stop);
    tokio::select! {
        result = serving => result.with_context(|| format!("listen on {}", settings.listen)),
        result = ending => result,
        result = acting => result,
    }
}

/// Waits for the Lease, acts while it is held, gives it back. Losing it ends the process: its successor begins afresh.
async fn lead_and_act(
    client: kube::Client,
    settings: &Settings,
    sight: &Sight,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let me = Identity::from_environment();
    let mut candidate = Candidate::new(client.clone(), &settings.namespace, &settings.lease, me);
    if !candidate.wait_for_lead(stop).await {
        return Ok(());
    }
    tracing::info!(lease = settings.lease, "leading");
    sight.leads.store(true, Ordering::Relaxed);
    sight.metrics.leads(true);
    let scope = Scope {
        namespace: settings.namespace.clone(),
        default_image: settings.default_image.clone(),
        node_access: settings.node_access,
        admin_url: settings.admin_url.clone(),
        discovery_every: run::DISCOVERY_EVERY,
    };
    // Both run until `stop`; the lead is kept until the last reconciliation has ended.
    let acting = run::run(client, scope, sight.metrics.clone(), sight.health.clone(), stop.clone());
    tokio::select! {
        result = acting => result?,
        () = candidate.keep_lead() => anyhow::bail!("lost the Lease {}; another operator may act now", settings.lease),
    }
    candidate.resign().await;
    Ok(())
}

fn begin_log(settings: &Settings) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&settings.log_level).with_context(|| {
        format!("log level {:?} is none of error, warn, info, debug or module=level", settings.log_level)
    })?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match settings.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().flatten_event(true).with_span_list(false).init(),
    }
    Ok(())
}

/// On SIGTERM or Ctrl-C lets everything come to its end; never returns otherwise.
async fn end_on_signal(sight: Sight, stop: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        result = tokio::signal::ctrl_c() => result?,
    }
    tracing::info!("ending");
    sight.ending.store(true, Ordering::Relaxed);
    stop.cancel();
    std::future::pending().await
}
