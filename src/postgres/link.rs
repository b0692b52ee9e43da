//! One connection to one PostgreSQL, every step of it under a deadline. It must never wait without one, and
//! never say more about a failure than what it saw.

use super::answer::{ProbeOutcome, SqlState, Step};
use super::conninfo::{ConnInfo, ConnInfoError, Host, SslMode};
use super::passwords::Passwords;
use super::tls::{self, StepCell, Traced};
use crate::os::is_short;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::config::{ChannelBinding, SslMode as WireSslMode};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, Connection, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How long a lost connection may take to say why: the reason arrives with the loss, or never.
const REASON_WAIT: Duration = Duration::from_millis(5);
/// Keepalives where the connection string says nothing: a silent peer is given up after about this.
const KEEPALIVE: Duration = Duration::from_secs(2);
const KEEPALIVE_COUNT: u32 = 3;

/// A failure of a connection: the outcome for the protocol, the words for people.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{outcome}: {detail}")]
pub struct LinkError {
    /// What it means; never `Answered`.
    pub outcome: ProbeOutcome,
    /// What the library or the server said; holds no password.
    pub detail: String,
    /// Whether the server judged the request, so that it had no effect.
    pub(super) by_server: bool,
    /// Whether the other of TLS and no TLS may help.
    pub(super) wants_other_tls: bool,
}

impl LinkError {
    pub(super) fn new(outcome: ProbeOutcome, detail: impl Into<String>) -> Self {
        Self { outcome, detail: detail.into(), by_server: false, wants_other_tls: false }
    }

    pub(super) fn timed_out(step: Step) -> Self {
        Self::new(ProbeOutcome::TimedOut { step }, "deadline passed")
    }

    /// Takes the failure of the next attempt; unless this one could not be made, which leaves it open what would have been.
    fn follow(&mut self, next: Self) {
        if self.outcome != ProbeOutcome::NotAsked {
            *self = next;
        }
    }

    pub(super) fn sqlstate(&self) -> Option<SqlState> {
        match self.outcome {
            ProbeOutcome::OtherServerError(state) => Some(state),
            _ => None,
        }
    }

    fn io(error: &io::Error) -> Self {
        let outcome = match error.kind() {
            _ if is_short(error) => ProbeOutcome::NotAsked,
            // A missing socket file is a Unix socket's way to refuse.
            ErrorKind::ConnectionRefused | ErrorKind::NotFound => ProbeOutcome::Refused,
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted => {
                ProbeOutcome::Reset
            }
            ErrorKind::UnexpectedEof => ProbeOutcome::Closed,
            // WouldBlock: the backlog of a Unix socket is full, because nobody accepts.
            ErrorKind::TimedOut | ErrorKind::WouldBlock => ProbeOutcome::TimedOut { step: Step::Connect },
            _ => ProbeOutcome::Unreachable,
        };
        Self::new(outcome, error.to_string())
    }

    pub(super) fn of(error: &tokio_postgres::Error, step: Step) -> Self {
        if let Some(db) = error.as_db_error() {
            return Self::of_server(db.code().code(), db.message());
        }
        let source = std::error::Error::source(error);
        let detail = source.map_or_else(|| error.to_string(), |s| format!("{error}: {s}"));
        // The library keeps the kind to itself; the text is the only way to tell.
        let in_tls = step == Step::Tls || error.to_string().contains("TLS handshake");
        if let Some(cause) = source.and_then(|s| s.downcast_ref::<io::Error>()) {
            let alert = cause.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
            if alert {
                return Self { wants_other_tls: true, ..Self::new(ProbeOutcome::TlsFailed, detail) };
            }
            return Self { detail, ..Self::io(cause) };
        }
        match (error.is_closed(), in_tls) {
            (true, _) => Self::new(ProbeOutcome::Closed, detail),
            (_, true) => Self { wants_other_tls: true, ..Self::new(ProbeOutcome::TlsFailed, detail) },
            // Start-up ends in the library itself only over a password or a mechanism that is not there.
            _ if step == Step::Authenticate => Self::new(ProbeOutcome::AuthenticationFailed, detail),
            _ => Self::new(ProbeOutcome::OtherServerError(SqlState(*b"XX000")), detail),
        }
    }

    fn of_server(code: &str, message: &str) -> Self {
        let outcome = match code {
            "53300" => ProbeOutcome::TooManyClients,
            "28P01" | "28000" => ProbeOutcome::AuthenticationFailed,
            // One code for both; a translated message counts as starting up, which is a sign of life, too.
            "57P03" if message.contains("shutting down") => ProbeOutcome::ShuttingDown,
            "57P03" => ProbeOutcome::StartingUp,
            // An orphaned session's last words: the postmaster was killed. No sign of life.
            "57P01" if message.contains("postmaster exit") => ProbeOutcome::Closed,
            "57P01" | "57P02" => ProbeOutcome::ShuttingDown,
            other => ProbeOutcome::OtherServerError(SqlState::from_code(other)),
        };
        let mut error = Self::new(outcome, format!("{message} (SQLSTATE {code})"));
        error.by_server = true;
        error.wants_other_tls = code == "28000";
        error
    }
}

/// Opens connections to one PostgreSQL.
#[derive(Clone)]
pub struct Connector {
    conninfo: ConnInfo,
    tls: Option<MakeRustlsConnect>,
    passwords: Passwords,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connector({})", self.conninfo)
    }
}

impl Connector {
    /// Returns a connector for `conninfo`, with its certificates read and its password file checked.
    ///
    /// # Errors
    /// When a file that the connection string names can't be used.
    pub fn new(conninfo: ConnInfo) -> Result<Self, ConnInfoError> {
        let passwords = Passwords::read(&conninfo)?;
        let tls = tls::client(&conninfo)?;
        Ok(Self { conninfo, tls, passwords })
    }

    /// Returns why the password file could not be read when it was last wanted, so that what it said before was used.
    #[must_use]
    pub fn password_trouble(&self) -> Option<String> {
        self.passwords.trouble()
    }

    /// Returns the connection string.
    #[must_use]
    pub const fn conninfo(&self) -> &ConnInfo {
        &self.conninfo
    }

    /// Opens a connection to the first host that lets us in. With `statement_timeout` the server itself ends a
    /// statement that runs longer, so that abandoned ones don't pile up.
    ///
    /// # Errors
    /// The last host's failure, or the time-out.
    pub async fn open(
        &self,
        statement_timeout: Option<Duration>,
        deadline: Instant,
    ) -> Result<Link, LinkError> {
        let mut last = LinkError::new(ProbeOutcome::Unreachable, "no address");
        for host in self.conninfo.hosts() {
            let limit =
                self.conninfo.connect_timeout().map_or(deadline, |t| deadline.min(Instant::now() + t));
            for &mode in self.modes(host) {
                match self.open_host(host, mode, statement_timeout, limit).await {
                    Ok(link) => return Ok(link),
                    Err(error) => {
                        let go_on = error.wants_other_tls;
                        last.follow(error);
                        if !go_on {
                            break;
                        }
                    }
                }
            }
            if Instant::now() >= deadline {
                break;
            }
        }
        Err(last)
    }

    /// Returns what to try in turn, as libpq does.
    fn modes(&self, host: &Host) -> &'static [WireSslMode] {
        use WireSslMode::{Disable, Prefer, Require};
        match self.conninfo.sslmode() {
            _ if host.is_socket() => &[Disable],
            SslMode::Disable => &[Disable],
            SslMode::Allow => &[Disable, Require],
            SslMode::Prefer => &[Prefer, Disable],
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => &[Require],
        }
    }

    async fn open_host(
        &self,
        host: &Host,
        mode: WireSslMode,
        statement_timeout: Option<Duration>,
        limit: Instant,
    ) -> Result<Link, LinkError> {
        let config = self.config(host, mode, statement_timeout);
        if host.is_socket() {
            let path = format!("{}/.s.PGSQL.{}", host.name, host.port);
            let stream = timeout_at(limit, UnixStream::connect(path)).await;
            let stream = stream.map_err(|_| LinkError::timed_out(Step::Connect))?;
            return self.handshake(stream.map_err(|e| LinkError::io(&e))?, host, &config, limit).await;
        }
        let mut last = LinkError::new(ProbeOutcome::Unreachable, "the name has no address");
        for address in resolve(host, limit).await? {
            let stream = timeout_at(limit, TcpStream::connect(address)).await;
            let stream = stream.map_err(|_| LinkError::timed_out(Step::Connect))?;
            match stream.and_then(|s| self.tune(&s).map(|()| s)) {
                Ok(stream) => return self.handshake(stream, host, &config, limit).await,
                Err(error) => last.follow(LinkError::io(&error)),
            }
        }
        Err(last)
    }

    fn config(&self, host: &Host, mode: WireSslMode, timeout: Option<Duration>) -> Config {
        let info = &self.conninfo;
        let mut options = info.get("options").map(|o| format!("{o} ")).unwrap_or_default();
        // Only the built-in functions are meant, whatever else the database holds.
        options.push_str("-c search_path=pg_catalog");
        if let Some(timeout) = timeout {
            options.push_str(&format!(" -c statement_timeout={}", timeout.as_millis().max(1)));
        }
        let name = info.get("application_name").or_else(|| info.get("fallback_application_name"));
        let mut config = Config::new();
        config.user(info.user()).dbname(info.dbname()).options(options).ssl_mode(mode);
        config.application_name(name.unwrap_or("pgfo"));
        config.channel_binding(match info.get("channel_binding") {
            Some("disable") => ChannelBinding::Disable,
            Some("require") => ChannelBinding::Require,
            _ => ChannelBinding::Prefer,
        });
        if let Some(password) = self.passwords.for_host(info, host) {
            config.password(password);
        }
        config
    }

    /// Lets the kernel notice a peer that vanished, also when nothing is being asked.
    fn tune(&self, stream: &TcpStream) -> io::Result<()> {
        use rustix::net::sockopt;
        let number =
            |key: &str| self.conninfo.get(key).and_then(|v| v.parse::<u32>().ok()).filter(|n| *n > 0);
        let secs = |key: &str| number(key).map_or(KEEPALIVE, |n| Duration::from_secs(u64::from(n)));
        stream.set_nodelay(true)?;
        if self.conninfo.get("keepalives") != Some("0") {
            sockopt::set_socket_keepalive(stream, true)?;
            sockopt::set_tcp_keepidle(stream, secs("keepalives_idle"))?;
            sockopt::set_tcp_keepintvl(stream, secs("keepalives_interval"))?;
            sockopt::set_tcp_keepcnt(stream, number("keepalives_count").unwrap_or(KEEPALIVE_COUNT))?;
        }
        if let Some(millis) = number("tcp_user_timeout") {
            sockopt::set_tcp_user_timeout(stream, millis)?;
        }
        Ok(())
    }

    async fn handshake<S>(
        &self,
        stream: S,
        host: &Host,
        config: &Config,
        limit: Instant,
    ) -> Result<Link, LinkError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        MakeRustlsConnect: MakeTlsConnect<S>,
        <MakeRustlsConnect as MakeTlsConnect<S>>::TlsConnect: Send,
        <<MakeRustlsConnect as MakeTlsConnect<S>>::TlsConnect as tokio_postgres::tls::TlsConnect<S>>::Future:
            Send + 'static,
        <<MakeRustlsConnect as MakeTlsConnect<S>>::TlsConnect as tokio_postgres::tls::TlsConnect<S>>::Error:
            'static,
        <MakeRustlsConnect as MakeTlsConnect<S>>::Stream: Send + 'static,
    {
        let Some(mut tls) = self.tls.clone().filter(|_| config.get_ssl_mode() != WireSslMode::Disable) else {
            let opened = timeout_at(limit, config.connect_raw(stream, NoTls)).await;
            let opened = opened.map_err(|_| LinkError::timed_out(Step::Authenticate))?;
            let (client, connection) = opened.map_err(|e| LinkError::of(&e, Step::Authenticate))?;
            return Ok(Link::drive(client, connection));
        };
        let step = StepCell::default();
        let inner = match MakeTlsConnect::<S>::make_tls_connect(&mut tls, &host.name) {
            Ok(inner) => inner,
            Err(_) => {
                return Err(LinkError::new(ProbeOutcome::TlsFailed, "the host name fits no certificate"));
            }
        };
        let connect = config.connect_raw(stream, Traced { inner, step: step.clone() });
        let opened = timeout_at(limit, connect).await;
        let opened = opened.map_err(|_| LinkError::timed_out(step.get()))?;
        let (client, connection) = opened.map_err(|e| LinkError::of(&e, step.get()))?;
        Ok(Link::drive(client, connection))
    }
}

async fn resolve(host: &Host, limit: Instant) -> Result<Vec<SocketAddr>, LinkError> {
    if let Some(ip) = host.address.or_else(|| host.name.parse().ok()) {
        return Ok(vec![SocketAddr::new(ip, host.port)]);
    }
    match timeout_at(limit, tokio::net::lookup_host((host.name.as_str(), host.port))).await {
        Err(_) => Err(LinkError::timed_out(Step::Resolve)),
        Ok(Err(e)) => {
            let outcome = if is_short(&e) { ProbeOutcome::NotAsked } else { ProbeOutcome::Unreachable };
            Err(LinkError::new(outcome, format!("resolving {}: {e}", host.name)))
        }
        Ok(Ok(addresses)) => Ok(addresses.collect()),
    }
}

/// An open connection. Dropping it closes it at once, whatever the server does.
#[derive(Debug)]
pub struct Link {
    pub(super) client: Client,
    driver: JoinHandle<()>,
    end: watch::Receiver<Option<LinkError>>,
    pub(super) opened: Instant,
}

impl Drop for Link {
    fn drop(&mut self) {
        // Else it would wait for the answer of a hung server.
        self.driver.abort();
    }
}

impl Link {
    fn drive<S, T>(client: Client, connection: Connection<S, T>) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, end) = watch::channel(None);
        let driver = tokio::spawn(async move {
            let reason = match connection.await {
                Ok(()) => LinkError::new(ProbeOutcome::Closed, "closed"),
                Err(e) => LinkError::of(&e, Step::Query),
            };
            sender.send_replace(Some(reason));
        });
        Self { client, driver, end, opened: Instant::now() }
    }

    /// Waits until the connection is lost, and returns why. An idle client hears of a killed postmaster this way
    /// within milliseconds.
    pub async fn closed(&self) -> LinkError {
        let mut end = self.end.clone();
        match end.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_else(|| LinkError::new(ProbeOutcome::Closed, "closed")),
            Err(_) => LinkError::new(ProbeOutcome::Closed, "closed"),
        }
    }

    /// Returns what holds the reason of this connection's end, once there is one.
    pub(super) fn end(&self) -> watch::Receiver<Option<LinkError>> {
        self.end.clone()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed() || self.end.borrow().is_some()
    }

    /// Waits for one request of this connection, until `deadline`.
    pub(super) async fn within<T>(
        &self,
        request: impl Future<Output = Result<T, tokio_postgres::Error>>,
        deadline: Instant,
    ) -> Result<T, LinkError> {
        match timeout_at(deadline, request).await {
            Ok(Ok(value)) => Ok(value),
            Err(_) => Err(LinkError::timed_out(Step::Query)),
            Ok(Err(error)) => {
                let error = LinkError::of(&error, Step::Query);
                if error.by_server {
                    return Err(error);
                }
                // The request knows that the connection is gone; the driver knows why.
                let mut reason = tokio::time::timeout(REASON_WAIT, self.closed()).await.unwrap_or(error);
                reason.by_server = false;
                Err(reason)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::conninfo::Environment;
    use super::*;
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    use std::os::fd::AsRawFd;

    /// D4: without a descriptor to spare nobody was asked, and that must not read as one who is not there.
    #[test]
    fn too_many_open_files_say_nothing_of_the_other() {
        const CHILD: &str = "PGFO_TEST_SHORT_OF_FILES";
        if std::env::var_os(CHILD).is_some() {
            return short_of_files();
        }
        let name = "postgres::link::tests::too_many_open_files_say_nothing_of_the_other";
        let short = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--test-threads", "1"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        assert!(short.status.success(), "{}", String::from_utf8_lossy(&short.stdout));
        assert!(String::from_utf8_lossy(&short.stdout).contains("1 passed"));
    }

    fn short_of_files() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let ask = |conninfo: &str| {
            let info = ConnInfo::parse(conninfo, &Environment::of("u", None, &[])).unwrap();
            let connector = Connector::new(info).unwrap();
            let within = Instant::now() + Duration::from_secs(10);
            runtime.block_on(connector.open(None, within)).unwrap_err().outcome
        };
        // Nobody listens there.
        let (tcp, socket) = ("host=127.0.0.1 port=1 sslmode=disable", "host=/nowhere sslmode=disable");
        assert_eq!((ask(tcp), ask(socket)), (ProbeOutcome::Refused, ProbeOutcome::Refused));
        let free = std::fs::File::open("/").unwrap();
        let none = u64::try_from(free.as_raw_fd()).unwrap();
        drop(free);
        let limits = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(none), ..limits }).unwrap();
        for one in [tcp, socket, "host=127.0.0.1,127.0.0.2 port=1 sslmode=disable"] {
            assert_eq!(ask(one), ProbeOutcome::NotAsked, "{one}");
        }
    }
}
