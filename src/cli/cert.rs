//! `pgfo cert`: makes the cluster's own authority and its members' certificates, and shows them.
//! It must never print or log a private key, nor overwrite a file unless told to.

use crate::peer::tls::{NAME_SUFFIX, certificate_name};
use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData, SanType, date_time_ymd,
};
use rustls::pki_types::DnsName;
use serde::Serialize;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

/// How far a certificate's validity reaches into the past: hosts' clocks differ.
const BACKDATED: Duration = Duration::from_secs(24 * 3600);

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Longest validity, in days: beyond it dates leave what X.509 tools agree on.
const DAYS_MAX: u32 = 36_500;

/// Make and show the certificates with which members know each other.
#[derive(Debug, Args)]
pub struct CertArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: CertCommand,
    /// Print JSON, for machines.
    #[arg(long, global = true)]
    pub json: bool,
}

/// What `pgfo cert` can do.
#[derive(Debug, Subcommand)]
pub enum CertCommand {
    /// Make the cluster's authority: ca.crt for every member, ca.key for a safe place.
    Ca(CaArgs),
    /// Make one member's certificate and key.
    Member(MemberArgs),
    /// Show whom a certificate names, and until when.
    Show(ShowArgs),
}

/// Arguments of `pgfo cert ca`.
#[derive(Debug, Args)]
pub struct CaArgs {
    /// Name of the cluster, as in its configuration.
    #[arg(long, default_value = "main")]
    pub cluster: String,
    /// Directory for the files; made if missing.
    #[arg(long, default_value = ".", value_name = "DIR")]
    pub out: PathBuf,
    /// Days until it expires, and all that it signed with it.
    #[arg(long, default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=i64::from(DAYS_MAX)))]
    pub days: u32,
    /// Overwrite: every member then needs a new certificate.
    #[arg(long)]
    pub force: bool,
}

/// Arguments of `pgfo cert member`.
#[derive(Debug, Args)]
pub struct MemberArgs {
    /// Name of the member, as in the configuration.
    pub name: String,
    /// Directory with ca.crt and ca.key.
    #[arg(long, default_value = ".", value_name = "DIR")]
    pub ca: PathBuf,
    /// Directory for the files; made if missing.
    #[arg(long, default_value = ".", value_name = "DIR")]
    pub out: PathBuf,
    /// Host name or IP address to name as well, for other tools; pgfo itself needs none.
    #[arg(long = "address", value_name = "HOST")]
    pub addresses: Vec<String>,
    /// Days until it expires; never later than the authority.
    #[arg(long, default_value_t = 1825, value_parser = clap::value_parser!(u32).range(1..=i64::from(DAYS_MAX)))]
    pub days: u32,
    /// Overwrite.
    #[arg(long)]
    pub force: bool,
}

/// Arguments of `pgfo cert show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// A certificate, PEM.
    pub file: PathBuf,
}

/// Files that were made, and what to do with them.
#[derive(Debug, Serialize)]
pub struct Made {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key, mode 0600.
    pub key: PathBuf,
    /// When it expires, RFC 3339.
    pub expires: String,
    /// What to copy where, for people.
    pub next: Vec<String>,
}

/// What a certificate says.
#[derive(Debug, Serialize)]
pub struct Shown {
    /// Whose it is.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// DNS names and IP addresses.
    pub names: Vec<String>,
    /// Whether it may sign others.
    pub authority: bool,
    /// Valid from, RFC 3339.
    pub not_before: String,
    /// Valid until, RFC 3339.
    pub not_after: String,
    /// Whole days until it expires; negative once it has.
    pub days_left: i64,
}

/// Runs `pgfo cert`.
///
/// # Errors
/// With the file and the remedy.
pub fn run(args: &CertArgs) -> anyhow::Result<()> {
    let text = match &args.command {
        CertCommand::Ca(ca_args) => made_text(&ca(ca_args)?, args.json)?,
        CertCommand::Member(member_args) => made_text(&member(member_args)?, args.json)?,
        CertCommand::Show(show_args) => shown_text(&show(&show_args.file)?, args.json)?,
    };
    writeln!(anstream::stdout(), "{text}").context("cannot write to standard output")
}

/// Makes the authority.
///
/// # Errors
/// When a file exists and `force` is not set, or cannot be written.
pub fn ca(args: &CaArgs) -> anyhow::Result<Made> {
    certificate_name("member", &args.cluster)?;
    let (certificate, key) = (args.out.join("ca.crt"), args.out.join("ca.key"));
    prepare(&args.out, &[&certificate, &key], args.force)?;
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // A number of its own tells it from an earlier authority of the same cluster: verifiers look
    // issuers up by name, and would report a bad signature instead of another authority.
    let number: u32 = rand::random();
    params.distinguished_name = subject(&format!("pgfo {} CA {number:08x}", args.cluster), &args.cluster);
    let not_after = validity(&mut params, SystemTime::now(), args.days, None);
    let pair = KeyPair::generate().context("cannot make a key")?;
    let signed = params.self_signed(&pair).context("cannot sign the authority")?;
    write(&key, &pair.serialize_pem(), 0o600, args.force)?;
    write(&certificate, &signed.pem(), 0o644, args.force)?;
    let next = vec![
        format!("for each member, run: pgfo cert member NAME --ca {}", args.out.display()),
        format!("copy {} to every member", certificate.display()),
        format!("keep {} off the members: who has it can make members", key.display()),
    ];
    Ok(Made { certificate, key, expires: rfc3339(not_after), next })
}

/// Makes one member's certificate and key.
///
/// # Errors
/// When the authority is missing or expired, a name is unusable, or a file exists.
pub fn member(args: &MemberArgs) -> anyhow::Result<Made> {
    ensure!(args.name != "ca", "a member cannot be called \"ca\": its files would replace the authority's");
    let (ca_crt, ca_key) = (args.ca.join("ca.crt"), args.ca.join("ca.key"));
    let remedy = "make an authority with \"pgfo cert ca\", or name its directory with --ca";
    let ca_pem = read(&ca_crt).context(remedy)?;
    let key_pem = String::from_utf8(read(&ca_key).context(remedy)?)
        .map_err(|_| anyhow::anyhow!("{} holds no private key", ca_key.display()))?;
    let signer = KeyPair::from_pem(&key_pem)
        .map_err(|_| anyhow::anyhow!("{} holds no usable private key", ca_key.display()))?;
    let (cluster, ca_expires) = with_certificate(&ca_crt, &ca_pem, |parsed| {
        ensure!(parsed.is_ca(), "{} is no authority's certificate", ca_crt.display());
        ensure!(
            parsed.public_key().raw == signer.subject_public_key_info(),
            "{} and {} do not belong together",
            ca_crt.display(),
            ca_key.display()
        );
        let cluster = parsed.subject().iter_organization().next().and_then(|o| o.as_str().ok());
        let cluster = cluster.with_context(|| format!("{} was not made by pgfo", ca_crt.display()))?;
        Ok((cluster.to_owned(), time_of(parsed.validity().not_after.timestamp())))
    })?;
    let now = SystemTime::now();
    ensure!(
        ca_expires > now,
        "{} has expired: make a new one with \"pgfo cert ca --force\"",
        ca_crt.display()
    );
    let dns_name = certificate_name(&args.name, &cluster)?;
    let certificate = args.out.join(format!("{}.crt", args.name));
    let key = args.out.join(format!("{}.key", args.name));
    prepare(&args.out, &[&certificate, &key], args.force)?;

    let mut params = CertificateParams::new(vec![dns_name]).context("cannot name the member")?;
    for address in &args.addresses {
        params.subject_alt_names.push(alternative_name(address)?);
    }
    params.distinguished_name = subject(&args.name, &cluster);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let not_after = validity(&mut params, now, args.days, Some(ca_expires));
    let issuer = Issuer::from_ca_cert_pem(&String::from_utf8_lossy(&ca_pem), signer)
        .with_context(|| format!("cannot use {}", ca_crt.display()))?;
    let pair = KeyPair::generate().context("cannot make a key")?;
    let signed = params.signed_by(&pair, &issuer).context("cannot sign the member")?;
    write(&key, &pair.serialize_pem(), 0o600, args.force)?;
    write(&certificate, &signed.pem(), 0o644, args.force)?;
    let next = vec![format!(
        "copy {}, {} and {} to the host of \"{}\", owned by the user that runs pgfo, the key with mode 0600",
        ca_crt.display(),
        certificate.display(),
        key.display(),
        args.name
    )];
    Ok(Made { certificate, key, expires: rfc3339(not_after), next })
}

/// Reads what the first certificate of `file` says.
///
/// # Errors
/// When the file cannot be read or holds no certificate.
pub fn show(file: &Path) -> anyhow::Result<Shown> {
    with_certificate(file, &read(file)?, |parsed| {
        let names = parsed.subject_alternative_name().ok().flatten();
        let names = names.map(|ext| ext.value.general_names.iter().map(general_name).collect());
        let not_after = parsed.validity().not_after.timestamp();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let now = i64::try_from(now).context("the clock is wrong")?;
        Ok(Shown {
            subject: parsed.subject().to_string(),
            issuer: parsed.issuer().to_string(),
            names: names.unwrap_or_default(),
            authority: parsed.is_ca(),
            not_before: rfc3339(time_of(parsed.validity().not_before.timestamp())),
            not_after: rfc3339(time_of(not_after)),
            days_left: (not_after - now).div_euclid(24 * 3600),
        })
    })
}

fn made_text(made: &Made, json: bool) -> anyhow::Result<String> {
    if json {
        return Ok(serde_json::to_string(made)?);
    }
    let mut lines = vec![
        format!("made {} (valid until {})", made.certificate.display(), made.expires),
        format!("made {} (mode 0600)", made.key.display()),
    ];
    lines.extend(made.next.iter().map(|next| format!("next: {next}")));
    Ok(lines.join("\n"))
}

fn shown_text(shown: &Shown, json: bool) -> anyhow::Result<String> {
    if json {
        return Ok(serde_json::to_string(shown)?);
    }
    let state =
        if shown.days_left < 0 { "EXPIRED".to_owned() } else { format!("{} days left", shown.days_left) };
    Ok(format!(
        "subject    {}\nissuer     {}\nnames      {}\nauthority  {}\nvalid      {} to {} ({state})",
        shown.subject,
        shown.issuer,
        if shown.names.is_empty() { "none".to_owned() } else { shown.names.join(", ") },
        if shown.authority { "yes" } else { "no" },
        shown.not_before,
        shown.not_after,
    ))
}

fn subject(common_name: &str, cluster: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, cluster);
    name.push(DnType::CommonName, common_name);
    name
}

/// Sets the validity from a day ago to `days` from now or `latest`, and returns its end.
fn validity(
    params: &mut CertificateParams,
    now: SystemTime,
    days: u32,
    latest: Option<SystemTime>,
) -> SystemTime {
    let end = now + DAY * days;
    let end = latest.map_or(end, |latest| latest.min(end));
    let since_epoch = |t: SystemTime| t.duration_since(UNIX_EPOCH).unwrap_or_default();
    params.not_before = date_time_ymd(1970, 1, 1) + since_epoch(now - BACKDATED);
    params.not_after = date_time_ymd(1970, 1, 1) + since_epoch(end);
    end
}

fn alternative_name(address: &str) -> anyhow::Result<SanType> {
    if let Ok(ip) = address.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(ip));
    }
    let lower = address.to_ascii_lowercase();
    if lower == NAME_SUFFIX || lower.ends_with(&format!(".{NAME_SUFFIX}")) || lower.contains('*') {
        bail!(
            "--address {address}: a certificate names one member only, so no *.{NAME_SUFFIX} and no wildcard"
        );
    }
    DnsName::try_from(address).with_context(|| format!("--address {address} is no host name"))?;
    let name = address.try_into().with_context(|| format!("--address {address} is no host name"))?;
    Ok(SanType::DnsName(name))
}

fn general_name(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(dns) => (*dns).to_owned(),
        GeneralName::IPAddress(bytes) => match (<[u8; 4]>::try_from(*bytes), <[u8; 16]>::try_from(*bytes)) {
            (Ok(v4), _) => IpAddr::from(v4).to_string(),
            (_, Ok(v6)) => IpAddr::from(v6).to_string(),
            _ => "an IP address of wrong length".to_owned(),
        },
        other => other.to_string(),
    }
}

fn with_certificate<T>(
    path: &Path,
    pem: &[u8],
    f: impl FnOnce(&X509Certificate<'_>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let section = x509_parser::pem::Pem::iter_from_buffer(pem)
        .filter_map(Result::ok)
        .find(|section| section.label == "CERTIFICATE")
        .with_context(|| format!("{} holds no certificate", path.display()))?;
    f(&section.parse_x509().with_context(|| format!("{} holds a broken certificate", path.display()))?)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn prepare(dir: &Path, files: &[&Path], force: bool) -> anyhow::Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    match files.iter().find(|file| file.symlink_metadata().is_ok()) {
        Some(file) if !force => {
            bail!("{} exists: move it away, or overwrite it with --force", file.display())
        }
        _ => Ok(()),
    }
}

/// Writes a file that has its mode from its first byte on, whole or not at all.
fn write(path: &Path, text: &str, mode: u32, force: bool) -> anyhow::Result<()> {
    let cannot = || format!("cannot write {}", path.display());
    let open = |path: &Path| OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let fill = |mut file: File| file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if !force {
        return open(path).and_then(fill).with_context(cannot);
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".new-{:08x}", rand::random::<u32>()));
    let beside = PathBuf::from(beside);
    open(&beside).and_then(fill).and_then(|()| fs::rename(&beside, path)).with_context(cannot)
}

fn time_of(unix_s: i64) -> SystemTime {
    let distance = Duration::from_secs(unix_s.unsigned_abs());
    if unix_s < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
}

fn rfc3339(time: SystemTime) -> String {
    // The formatter knows the years 1970 to 9999 only.
    let last = UNIX_EPOCH + Duration::from_secs(253_402_300_799);
    humantime::format_rfc3339_seconds(time.clamp(UNIX_EPOCH, last)).to_string()
}
