//! A prepared data directory, made once a process and copied for every cluster: `initdb` costs most
//! of a second. It holds no node's own settings.

use super::error::{DemoError, Result};
use super::sandbox::{Sandbox, SandboxOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

/// The role that daemons, replication and clients connect as.
pub(crate) const ROLE: &str = "pgfo";

/// The template of this process, with what it was made by. Its directory goes with the process: a
/// static is not dropped, its janitor cleans up.
static TEMPLATE: Mutex<Option<Made>> = Mutex::new(None);

struct Made {
    postgres_dir: PathBuf,
    user: Option<String>,
    template: Arc<Template>,
}

#[derive(Debug)]
pub(crate) struct Template {
    sandbox: Sandbox,
}

impl Template {
    /// Returns the template of this process, made now if this is the first use.
    pub(crate) fn shared(postgres_dir: &Path, user: Option<&str>) -> Result<Arc<Self>> {
        let mut slot = TEMPLATE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = slot.as_ref()
            && made.postgres_dir == postgres_dir
            && made.user.as_deref() == user
        {
            return Ok(Arc::clone(&made.template));
        }
        let template = Arc::new(Self::make(postgres_dir, user)?);
        let (postgres_dir, user) = (postgres_dir.to_path_buf(), user.map(str::to_owned));
        *slot = Some(Made { postgres_dir, user, template: Arc::clone(&template) });
        Ok(template)
    }

    /// Makes a template, whose system identifier no other one has.
    pub(crate) fn make(postgres_dir: &Path, user: Option<&str>) -> Result<Self> {
        let options = SandboxOptions {
            keep: false,
            postgres_bin: Some(postgres_dir.to_path_buf()),
            user: user.map(str::to_owned),
        };
        let sandbox = Sandbox::new(&options)?;
        let template = Self { sandbox };
        // What a power cut would take from a throw-away directory is of no interest here.
        template.sandbox.run("initdb", |command| {
            command.arg("--pgdata").arg(template.data());
            command.args([
                "--username=postgres",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
            ]);
        })?;
        let role = format!("CREATE ROLE {ROLE} SUPERUSER REPLICATION LOGIN");
        single_user(&template.sandbox, &template.data(), &[role])?;
        Ok(template)
    }

    /// Copies the template to `target`, which must not exist.
    pub(crate) fn copy_to(&self, target: &Path) -> Result<()> {
        let cp = Path::new("cp");
        let mut command = self.sandbox.command(cp);
        command.args(["-a", "--reflink=auto"]).arg(self.data()).arg(target);
        super::sandbox::run_to_end("cp", cp, &mut command).map(drop)
    }

    fn data(&self) -> PathBuf {
        self.sandbox.root().join("data")
    }
}

/// Runs statements on a data directory without starting a server. Errors never quote a statement:
/// it may set a password.
pub(crate) fn single_user(sandbox: &Sandbox, data: &Path, statements: &[String]) -> Result<()> {
    let path = sandbox.postgres().program("postgres");
    let mut command = sandbox.command(&path);
    command.arg("--single").arg("-D").arg(data).args([
        "-F",
        "-c",
        "log_min_error_statement=panic",
        "postgres",
    ]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(DemoError::io("run", &path))?;
    if let Some(mut stdin) = child.stdin.take() {
        for statement in statements {
            // A newline ends a statement here, so one inside it must go.
            let line = statement.replace('\n', " ") + "\n";
            stdin.write_all(line.as_bytes()).map_err(DemoError::io("write to", &path))?;
        }
    }
    let output = child.wait_with_output().map_err(DemoError::io("wait for", &path))?;
    let text = String::from_utf8_lossy(&output.stderr);
    // The single-user server exits with 0 even after a statement failed.
    if output.status.success() && !text.contains("ERROR:") {
        return Ok(());
    }
    let output_tail = super::sandbox::tail(&text).to_owned();
    Err(DemoError::Program {
        program: "postgres --single".into(),
        status: output.status,
        output: output_tail,
    })
}
