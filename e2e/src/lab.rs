//! The kind cluster that everything runs in, made by `e2e/lab/lab`, and the tools that come with it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::program::Program;

/// A cluster with three workers in the zones `a`, `b` and `c`.
#[derive(Clone, Debug)]
pub struct Lab {
    repository: PathBuf,
    bin: PathBuf,
    kubeconfig: PathBuf,
}

/// What the project's images are called.
pub const IMAGES: [&str; 2] = [
    concat!("anchorage/anchorage:", env!("CARGO_PKG_VERSION")),
    concat!("anchorage/anchorage-operator:", env!("CARGO_PKG_VERSION")),
];

impl Lab {
    /// Makes the cluster, or takes the one that is there and healthy.
    ///
    /// # Errors
    /// When a part of it cannot be made; the lab has said which on standard error.
    pub fn up() -> Result<Self> {
        let lab = Self::present()?;
        Program::new(lab.path("e2e/lab/lab")).args(["up"]).show()?;
        Ok(lab)
    }

    /// Where the cluster and its tools are, whether they have been made or not.
    ///
    /// # Errors
    /// When the repository that this program was built from is gone.
    pub fn present() -> Result<Self> {
        let repository =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().context("find the repository")?;
        let lines = Program::new(repository.join("e2e/lab/lab")).args(["env"]).run()?;
        let value = |name: &str| -> Result<PathBuf> {
            let prefix = format!("export {name}=");
            let line = lines.lines().find_map(|line| line.strip_prefix(&prefix));
            let value = line.with_context(|| format!("lab env prints no {name}"))?;
            Ok(PathBuf::from(value.trim_end_matches(":$PATH")))
        };
        Ok(Self { bin: value("PATH")?, kubeconfig: value("KUBECONFIG")?, repository })
    }

    /// A file or folder of the repository.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.repository.join(relative)
    }

    /// `kubectl` for this cluster.
    pub fn kubectl<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Program {
        self.tool("kubectl").args(arguments)
    }

    /// `helm` for this cluster.
    pub fn helm<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Program {
        self.tool("helm").args(arguments)
    }

    /// Puts the project's images onto the workers and tells which of them this cluster did not have yet.
    ///
    /// # Errors
    /// When an image has not been built, or a node does not take it.
    pub fn load_images(&self) -> Result<Vec<String>> {
        let loaded = Program::new(self.path("e2e/lab/lab")).args(["load"]).args(IMAGES).run()?;
        Ok(loaded.lines().map(str::to_owned).collect())
    }

    /// Folder with the Prometheus operator's custom resource definitions.
    ///
    /// # Errors
    /// When the lab's programs have not been fetched.
    pub fn prometheus_crds(&self) -> Result<PathBuf> {
        Program::new(self.path("e2e/lab/lab")).args(["crds"]).run().map(PathBuf::from)
    }

    fn tool(&self, name: &str) -> Program {
        Program::new(self.bin.join(name)).env("KUBECONFIG", &self.kubeconfig)
    }
}
