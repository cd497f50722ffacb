//! Real PostgreSQL and Redis servers for tests: on a temporary directory and a free port, ended with the test process.
//!
//! A shell stands between: it ends the server, by its process id, when the pipe to the test breaks, however that ends.

use std::fs;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What the shell does: `$1` the directory, `$2` the signal that ends the server, `$3` the one that crashes it, then its
/// command.
const GUARD: &str = r#"dir=$1; end=$2; crash=$3; shift 3; "$@" </dev/null >"$dir/log" 2>&1 & pid=$!
read -r how; [ "$how" != crash ] || end=$crash; kill -"$end" $pid; wait $pid; [ "$how" = crash ] || rm -rf "$dir""#;

const START_LIMIT: Duration = Duration::from_secs(60);

/// A server that runs until it is dropped.
pub struct Server {
    directory: PathBuf,
    command: Vec<String>,
    signals: [&'static str; 2],
    port: u16,
    guard: Option<Child>,
}

impl Server {
    fn start(directory: PathBuf, signals: [&'static str; 2], port: u16, command: Vec<String>) -> Server {
        let mut server = Server { directory, command, signals, port, guard: None };
        server.resume();
        server
    }

    /// Starts it again on the same port and data.
    pub fn resume(&mut self) {
        assert!(self.guard.is_none(), "it runs");
        let mut command = Command::new("sh");
        command.args(["-c", GUARD, "guard"]).arg(&self.directory).args(self.signals).args(&self.command);
        self.guard = Some(command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let until = Instant::now() + START_LIMIT;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let log = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
            assert!(Instant::now() < until, "no server on port {}:\n{log}", self.port);
            std::thread::yield_now();
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Kills it as a crash would; its data stay.
    pub fn crash(&mut self) {
        self.end("crash");
    }

    fn end(&mut self, how: &str) {
        if let Some(mut guard) = self.guard.take() {
            let _ = writeln!(guard.stdin.take().unwrap(), "{how}");
            let _ = guard.wait();
        }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end("");
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Says so past the captured output; fails where a skip is not allowed.
fn missing(what: &str) {
    let what = format!("{what} is not installed: run scripts/setup.sh");
    assert!(std::env::var_os("LIPSERVICE_REQUIRE_SERVERS").is_none(), "{what}");
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what}");
}

fn program(name: &str, elsewhere: &str) -> Option<PathBuf> {
    let mut folders: Vec<PathBuf> = fs::read_dir(elsewhere).into_iter().flatten().flatten().map(|e| e.path()).collect();
    folders.sort();
    let elsewhere = folders.into_iter().rev().map(|folder| folder.join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    elsewhere.chain(std::env::split_paths(&path)).map(|folder| folder.join(name)).find(|file| file.is_file())
}

fn directory(kind: &str) -> PathBuf {
    tempfile::Builder::new().prefix(&format!("lipservice-{kind}-")).tempdir().unwrap().keep()
}

/// PostgreSQL refuses to run as root.
fn as_postgres(program: &Path) -> Vec<String> {
    let program = program.to_string_lossy().into_owned();
    let is_root = fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    match is_root {
        true => {
            ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", &program].map(str::to_owned).into()
        }
        false => vec![program],
    }
}

fn run(command: &[String]) {
    let output = Command::new(&command[0]).args(&command[1..]).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A PostgreSQL server of its own; `None`, said loudly, where there is none.
pub fn postgres() -> Option<Server> {
    let folder = "/usr/lib/postgresql";
    let (Some(initdb), Some(postgres)) = (program("initdb", folder), program("postgres", folder)) else {
        missing("PostgreSQL");
        return None;
    };
    let directory = directory("postgres");
    let data = directory.join("data").to_string_lossy().into_owned();
    if as_postgres(&initdb).len() > 1 {
        run(&["chown", "postgres", &directory.to_string_lossy()].map(str::to_owned));
    }
    let mut init = as_postgres(&initdb);
    init.extend(["-D", &data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "-N"].map(str::to_owned));
    run(&init);
    let port = free_port();
    let mut serve = as_postgres(&postgres);
    serve.extend(["-D", &data, "-p", &port.to_string(), "-k", &directory.to_string_lossy()].map(str::to_owned));
    for setting in ["listen_addresses=127.0.0.1", "shared_buffers=32MB", "max_connections=200", "fsync=off"] {
        serve.extend(["-c".to_owned(), setting.to_owned()]);
    }
    Some(Server::start(directory, ["INT", "QUIT"], port, serve))
}

/// A Redis server of its own, with a password; `None`, said loudly, where there is none.
pub fn redis(password: &str) -> Option<Server> {
    let Some(program) = program("redis-server", "/nonexistent") else {
        missing("Redis");
        return None;
    };
    let (directory, port) = (directory("redis"), free_port());
    let mut serve = vec![program.to_string_lossy().into_owned()];
    let folder = directory.to_string_lossy().into_owned();
    for (setting, value) in [
        ("--port", &*port.to_string()),
        ("--bind", "127.0.0.1"),
        ("--dir", &folder),
        ("--save", ""),
        ("--requirepass", password),
    ] {
        serve.extend([setting.to_owned(), value.to_owned()]);
    }
    Some(Server::start(directory, ["TERM", "KILL"], port, serve))
}

/// The PostgreSQL server that tests share. It ends with the test process, as the pipe breaks then.
fn shared_postgres() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    SERVER.get_or_init(postgres).as_ref()
}

/// The URL of a new, empty database on `server`.
pub async fn database(server: &Server) -> String {
    use sqlx::Connection as _;
    static DATABASES: AtomicUsize = AtomicUsize::new(0);
    let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    let base = format!("postgres://postgres@127.0.0.1:{}", server.port());
    let until = Instant::now() + START_LIMIT;
    let mut connection = loop {
        // The port opens before the server takes connections.
        match sqlx::PgConnection::connect(&format!("{base}/postgres")).await {
            Ok(connection) => break connection,
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
    sqlx::query(create).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    format!("{base}/{name}")
}

/// The URL of a new database on the server that tests share.
pub async fn shared_database() -> Option<String> {
    let server = tokio::task::spawn_blocking(shared_postgres).await.unwrap()?;
    Some(database(server).await)
}
