//! Puts a member together: log, roles, hands, supervision; and takes it apart again in order.

use super::disk::watch_the_disk;
use super::guarding::keep_guard;
use super::{answers, certificate, settings};
use crate::actors::{
    Clock, DaemonOrder, Envelope, GetLog, Guardian, Hands, HeartbeatProber, Held, Observe, Observer,
    PostgresOperator, ReceiverWatch, Reconfigure, Retime, RoleShell, Sequencer, SequencerConfig, Shared,
    beat, listen_to_peers, watch_postmaster,
};
use crate::cli::exit::Exit;
use crate::cli::logging::LogGuard;
use crate::config::{Config, reload_changes};
use crate::control::ControlServer;
use crate::core::{CORE_REVISION, Incarnation};
use crate::events::{
    Actor, Condition, HEAD_NAME, LogFound, LogOptions, Observation, OperatorRequest, ProcessIdentity,
    ProcessStart,
};
use crate::keep::{INCIDENTS_DIR, Keeper, KeeperConfig, open_log};
use crate::os;
use crate::peer::{Hello, LinkConfig, LinkTiming, PeerLink, PeerMember, ProcessNonce, Security, TlsPaths};
use actix::Addr;
use anyhow::Context as _;
use pgfo_replay::Seq;
use slog::{Logger, crit, info, warn};
use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

/// Orders to the daemon that may wait: there are two kinds.
const ORDERS_MAX: usize = 8;
/// Told to end again within this time, the daemon ends whether or not a quorum agreed to pause.
const TOLD_AGAIN_MAX: Duration = Duration::from_secs(120);

/// Runs the member until it ends.
pub(super) async fn serve(
    config: Config,
    path: PathBuf,
    logger: Logger,
    text: LogGuard,
) -> anyhow::Result<Exit> {
    let core_settings = settings::settings(&config);
    // Recovery: one fold for every role and the sequencer's own view, from the newest checkpoint on.
    let (opened, recovered) = match open_log(&config.log.directory, LogOptions::default(), &core_settings) {
        Ok(opened) => opened,
        Err(why) => {
            crit!(logger, "{}", why);
            return Ok(Exit::Unreadable);
        }
    };
    for (record, why) in &recovered.unused {
        warn!(logger, "a checkpoint was not used"; "record" => record.0, "why" => why);
    }
    let log = Arc::new(opened.log);
    let process = ProcessIdentity {
        incarnation: opened.incarnation,
        boot_id: os::boot_id().context("the kernel's boot identity")?,
        nonce: rand::random(),
    };
    let shell = |name| RoleShell::start(name, core_settings.clone(), &recovered.states);
    let roles = Actor::ROLES.map(|name| (name, shell(name))).to_vec();
    let ledger = recovered.states.ledger;
    let next = opened.last.map_or(Seq(1), |(seq, _)| seq.next());
    info!(logger, "recovered from the log"; "records" => next.0 - 1, "condition" => ?opened.condition,
        "checkpoint" => recovered.from.map(|seq| seq.0), "folded" => recovered.folded);
    let keeper = Keeper::start(KeeperConfig {
        log: log.clone(),
        settings: core_settings.clone(),
        incidents: config.log.directory.join(INCIDENTS_DIR),
        limits: settings::limits(&config),
        logger: logger.clone(),
    })
    .context("starting the log's upkeep")?;

    let (orders_in, mut orders) = mpsc::channel(ORDERS_MAX);
    let (lost_guard, guard_lost) = mpsc::channel(1);
    let (peers, peer_events) = PeerLink::start::<Envelope>(link_config(&config, &process)?)
        .context("listening for the other members")?;
    let links = peers.clone();
    let targets = settings::targets(&config)?;
    let operator_config = settings::operator(&config)?;
    let (clock, clock_hand) = Clock::new();
    let winner = ledger.announced().copied();
    let data_dir = config.postgres.as_ref().map(|p| p.data_directory.clone());
    let held = Held::default();
    let shared = Shared { process: process.incarnation, lost_guard, postmaster: held.clone() };
    let mut parts = None;
    let sequencer = {
        let (logger, parts) = (logger.clone(), &mut parts);
        let operator_config = operator_config.clone();
        Sequencer::start(
            SequencerConfig {
                log: log.clone(),
                next,
                roles: roles.clone(),
                ledger,
                clock,
                logger: logger.clone(),
                teller: answers::teller(logger.clone()),
            },
            move |address| {
                let observer = |actor| Observer::new(actor, address.clone().recipient());
                let receivers = data_dir
                    .map(|dir| ReceiverWatch::new(dir, observer(Actor::PostgresOperator), logger.clone()));
                let prober = HeartbeatProber::start(
                    targets,
                    winner,
                    observer(Actor::HeartbeatProber),
                    receivers,
                    logger.clone(),
                );
                let operator = operator_config.map(|c| {
                    let seen = observer(Actor::PostgresOperator);
                    PostgresOperator::start(c, winner, shared, seen, peers.clone(), logger.clone())
                });
                *parts = Some((prober.clone(), operator.clone()));
                Hands { peers, prober, operator, daemon: orders_in, logger }
            },
        )
    };
    let (prober, operator) = parts.context("the hands did not start")?;
    let daemon = Observer::new(Actor::Daemon, sequencer.clone().recipient());
    daemon
        .tell(Observation::ProcessStarted(Box::new(ProcessStart {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            core_revision: CORE_REVISION,
            settings: core_settings,
            configuration_digest: settings::digest(&config),
            process,
            log: found(&opened.condition),
        })))
        .await;

    make_run_directory(&config.node.run_directory)?;
    if let (Some(operator), Some(postgres)) = (&operator, &config.postgres) {
        keep_guard(&config, &path, operator.clone(), guard_lost, logger.clone()).await?;
        let seen = Observer::new(Actor::PostgresOperator, sequencer.clone().recipient());
        actix::spawn(watch_postmaster(postgres.data_directory.clone(), seen, held, logger.clone()));
    }
    let (interval_in, interval) = watch::channel(config.heartbeat.interval);
    let ticking = Observer::new(Actor::Clock, sequencer.clone().recipient());
    actix::spawn(clock_hand.run(ticking.clone()));
    actix::spawn(beat(interval, log.clone(), ticking, prober.clone()));
    let names = config.membership.members().iter().map(|m| m.name.clone()).collect();
    let heard = Observer::new(Actor::PeerLink, sequencer.clone().recipient());
    actix::spawn(listen_to_peers(peer_events, heard, logger.clone(), names));
    actix::spawn(watch_the_disk(log.clone(), opened.conditions, daemon.clone(), logger.clone()));
    let control_path = config.node.run_directory.join(crate::cli::CONTROL_SOCKET);
    let (_control, asked) = ControlServer::start(&control_path)
        .with_context(|| format!("listening on the control socket {}", control_path.display()))?;
    link_to_control(&config.log.directory, &control_path, &logger);
    actix::spawn(answers::answer(asked, sequencer.clone(), daemon.clone(), config.clone(), links.clone()));
    actix::spawn(certificate::watch(links.clone(), logger.clone()));
    actix::spawn(
        Guardian {
            sequencer: sequencer.clone(),
            roles: roles.iter().map(|(n, a)| (n.name(), a.clone())).collect(),
            prober: prober.clone(),
            logger: logger.clone(),
        }
        .run(),
    );
    // Without systemd there is nobody to tell.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    info!(logger, "running"; "version" => env!("CARGO_PKG_VERSION"), "control" => %control_path.display());

    let running = Running {
        path,
        config,
        keeper,
        sequencer,
        prober,
        operator,
        interval: interval_in,
        text,
        daemon,
        links,
    };
    let exit = running.until_told_to_end(&mut orders, &logger).await?;
    // Asking for the log releases what is held back from it; a sequencer that is gone holds nothing.
    let _released = running.sequencer.send(GetLog).await;
    let Running { keeper, .. } = running;
    tokio::task::spawn_blocking(|| keeper.stop()).await.context("ending the log's upkeep")?;
    if let Some(log) = Arc::into_inner(log)
        && let Err(why) = log.close()
    {
        warn!(logger, "the log was not closed cleanly"; "why" => %why);
    }
    Ok(exit)
}

/// A running member, as far as signals concern it.
struct Running {
    path: PathBuf,
    config: Config,
    keeper: Keeper,
    sequencer: Addr<Sequencer>,
    prober: Addr<HeartbeatProber>,
    operator: Option<Addr<PostgresOperator>>,
    interval: watch::Sender<crate::core::Nanos>,
    text: LogGuard,
    daemon: Observer,
    links: certificate::Peers,
}

impl Running {
    async fn until_told_to_end(
        &self,
        orders: &mut mpsc::Receiver<DaemonOrder>,
        logger: &Logger,
    ) -> anyhow::Result<Exit> {
        let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
        let mut hang_up = signal(SignalKind::hangup()).context("SIGHUP")?;
        let mut told: Option<Instant> = None;
        let mut config = self.config.clone();
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = hang_up.recv() => {
                    certificate::reload(&self.links, logger);
                    if let Some(new) = self.reload(&config, logger).await {
                        config = new;
                    }
                    continue;
                }
                order = orders.recv() => match order {
                    Some(DaemonOrder::Stop) | None => break,
                    Some(DaemonOrder::StartAnew) => {
                        // Without its head, the log is given another incarnation when it is opened (M1).
                        let head = self.config.log.directory.join(HEAD_NAME);
                        crit!(logger, "this log was rolled back: starting anew, to be registered by the others");
                        std::fs::remove_file(&head)
                            .with_context(|| format!("removing the head {}", head.display()))?;
                        return Ok(Exit::Internal);
                    }
                    Some(DaemonOrder::StayRunning) => {
                        warn!(logger, "staying: no quorum agreed to pause, and without the daemon the guard would \
                            stop PostgreSQL at the lease's end; tell it again within two minutes to end it all the same");
                        continue;
                    }
                },
            }
            // Whom it refused hours ago asks anew: it must not end without a pause then.
            if told.replace(Instant::now()).is_some_and(|before| before.elapsed() < TOLD_AGAIN_MAX) {
                warn!(logger, "told twice: ending at once");
                return Ok(Exit::Forced);
            }
            info!(logger, "told to end");
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
            let wish = Observe {
                actor: Actor::Daemon,
                observation: Observation::OperatorRequested(OperatorRequest::Stop),
            };
            // Not awaited here: a second signal must get through.
            let sequencer = self.sequencer.clone();
            actix::spawn(async move {
                // The sequencer's end is the guardian's business.
                let _ = sequencer.send(wish).await;
            });
        }
        info!(logger, "ending in order");
        Ok(Exit::Ok)
    }

    /// All or nothing; says what changed.
    async fn reload(&self, old: &Config, logger: &Logger) -> Option<Config> {
        let new = match Config::load(&self.path) {
            Ok((new, warnings)) => {
                for warning in warnings {
                    warn!(logger, "{}", warning);
                }
                new
            }
            Err(errors) => {
                warn!(logger, "the configuration was not reloaded: {}", errors);
                return None;
            }
        };
        let changes = match reload_changes(old, &new) {
            Ok(changes) => changes,
            Err(refused) => {
                warn!(logger, "the configuration was not reloaded: {}", refused);
                return None;
            }
        };
        if changes.is_empty() {
            info!(logger, "the configuration was read again: nothing changed");
            return None;
        }
        let (targets, operator) = match (settings::targets(&new), settings::operator(&new)) {
            (Ok(targets), Ok(operator)) => (targets, operator),
            (Err(e), _) | (_, Err(e)) => {
                warn!(logger, "the configuration was not reloaded: {:#}", e);
                return None;
            }
        };
        for change in &changes {
            info!(logger, "configuration changed"; "key" => &change.key, "old" => change.old.as_deref().unwrap_or("-"), "new" => change.new.as_deref().unwrap_or("-"));
        }
        self.text.set_level(new.log.level);
        self.keeper.set_limits(settings::limits(&new));
        self.interval.send_replace(new.heartbeat.interval);
        let retimed = self.prober.send(Retime(targets)).await.is_ok();
        let reconfigured = match (&self.operator, operator) {
            (Some(actor), Some(operator)) => actor.send(Reconfigure(operator)).await.is_ok(),
            _ => true,
        };
        if !(retimed && reconfigured) {
            crit!(logger, "a hand is gone: ending, to be started anew from the log");
            std::process::exit(70);
        }
        let settings = Box::new(settings::settings(&new));
        let configuration_digest = settings::digest(&new);
        self.daemon.tell(Observation::SettingsChanged { settings, configuration_digest }).await;
        Some(new)
    }
}

fn found(condition: &Condition) -> LogFound {
    match condition {
        Condition::Fresh => LogFound::Fresh,
        Condition::Intact => LogFound::Intact,
        Condition::TailLost { head, .. } => LogFound::TailLost { head: *head },
        Condition::HeadLost { last } => LogFound::TailLost { head: *last },
        Condition::PutAside { path, why } => {
            LogFound::PutAside { path: path.display().to_string(), why: why.clone() }
        }
    }
}

fn make_run_directory(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(path).with_context(|| format!("making the run directory {}", path.display()))
}

/// Lets `pgfo replay` of this log find who holds it.
fn link_to_control(log_dir: &Path, control: &Path, logger: &Logger) {
    let link = log_dir.join(crate::cli::LIVE_LOG_LINK);
    let removed = match std::fs::remove_file(&link) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    };
    if let Err(why) = removed.and_then(|()| std::os::unix::fs::symlink(control, &link)) {
        warn!(logger, "the log's link to the control socket can't be made"; "link" => %link.display(), "why" => %why);
    }
}

fn link_config(config: &Config, process: &ProcessIdentity) -> anyhow::Result<LinkConfig> {
    let me = config.this_member();
    let address = me.address.to_string();
    let listen = address
        .to_socket_addrs()
        .with_context(|| format!("resolving this member's address {address}"))?
        .next()
        .with_context(|| format!("this member's address {address} names no host"))?;
    let security = match &config.tls {
        None => Security::PlainLoopback,
        Some(tls) => Security::Tls(TlsPaths {
            ca: tls.ca.clone(),
            certificate: tls.certificate.clone(),
            key: tls.key.clone(),
        }),
    };
    let members = config.membership.members().iter();
    let idle = settings::length(config.heartbeat.interval) * 3;
    Ok(LinkConfig {
        hello: Hello {
            cluster: config.cluster.name.clone(),
            membership: config.membership_digest(),
            member: me.name.clone(),
            incarnation: Incarnation(process.incarnation.0),
            boot: process.boot_id,
            process: ProcessNonce(process.nonce),
            software: format!("pgfo {}", env!("CARGO_PKG_VERSION")),
        },
        me: config.me(),
        members: members
            .map(|m| PeerMember { name: m.name.clone(), address: m.address.to_string() })
            .collect(),
        listen,
        security,
        timing: LinkTiming { idle_timeout: idle, ..LinkTiming::default() },
    })
}
