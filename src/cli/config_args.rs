//! The arguments that name a configuration, shared by `run`, `validate` and `print-config`.

use std::path::PathBuf;

use crate::config::{self, ConfigErrors, Loaded};

/// Which configuration.
#[derive(Clone, Debug, clap::Args)]
pub struct ConfigArgs {
    /// Configuration file (YAML). Given several times, the files are merged; the later wins.
    #[arg(long = "config", short = 'c', value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Set one key over what the files say, such as --set exporters.posthog.host=eu
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
}

impl ConfigArgs {
    /// Reads it, with this process's environment.
    ///
    /// # Errors
    /// Every problem found.
    pub fn load(&self) -> Result<Loaded, ConfigErrors> {
        config::load(&self.files, &self.sets, &|name| std::env::var(name).ok())
    }
}
