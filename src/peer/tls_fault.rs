//! What went wrong in a TLS handshake, in the operator's terms: which side refused, and why.

use std::fmt;
use std::io;

use rustls::{AlertDescription, CertificateError};

/// Which side refused the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultSide {
    /// This member refused the other side.
    Us,
    /// The other side refused this member, and said so in an alert.
    Peer,
}

/// Why a certificate, or the handshake around it, was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFaultKind {
    /// There was no certificate.
    NoCertificate,
    /// The certificate has expired.
    Expired,
    /// The certificate is not valid yet: a wall clock is wrong.
    NotYetValid,
    /// The certificate was signed by another authority.
    OtherAuthority,
    /// The certificate names somebody else.
    WrongName,
    /// The certificate was refused for another reason; an alert often says no more. A wrong name
    /// arrives as this at the side that was refused.
    BadCertificate,
    /// Not TLS 1.3, or not TLS at all.
    NotTls13,
    /// Anything else; the detail says what.
    Other,
}

/// A TLS handshake that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct TlsFault {
    /// Who refused.
    pub side: FaultSide,
    /// Why.
    pub kind: TlsFaultKind,
    /// What the library said.
    pub detail: String,
}

impl fmt::Display for TlsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = match self.side {
            FaultSide::Us => "the other side's",
            FaultSide::Peer => "the other side refused us: our",
        };
        match self.kind {
            TlsFaultKind::NoCertificate => write!(f, "{whose} certificate is missing"),
            TlsFaultKind::Expired => {
                write!(f, "{whose} certificate has expired: make a new one with \"pgfo cert member\"")
            }
            TlsFaultKind::NotYetValid => {
                write!(f, "{whose} certificate is not valid yet: check the clocks of both hosts")
            }
            TlsFaultKind::OtherAuthority => {
                write!(f, "{whose} certificate was signed by another authority: all members need one ca.crt")
            }
            TlsFaultKind::WrongName => write!(f, "{whose} certificate names somebody else ({})", self.detail),
            TlsFaultKind::BadCertificate => write!(f, "{whose} certificate was refused ({})", self.detail),
            TlsFaultKind::NotTls13 => {
                write!(f, "no TLS 1.3: is TLS configured on both members? ({})", self.detail)
            }
            TlsFaultKind::Other => write!(f, "TLS failed ({})", self.detail),
        }
    }
}

impl TlsFault {
    /// Returns the TLS fault inside an I/O error, `None` if the transport itself failed.
    #[must_use]
    pub fn from_io(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref::<rustls::Error>().map(Self::from_rustls)
    }

    fn from_rustls(error: &rustls::Error) -> Self {
        let (side, kind) = match error {
            rustls::Error::AlertReceived(alert) => (FaultSide::Peer, alert_kind(*alert)),
            rustls::Error::NoCertificatesPresented => (FaultSide::Us, TlsFaultKind::NoCertificate),
            rustls::Error::InvalidCertificate(e) => (FaultSide::Us, certificate_kind(e)),
            rustls::Error::InvalidMessage(_)
            | rustls::Error::PeerIncompatible(_)
            | rustls::Error::InappropriateMessage { .. } => (FaultSide::Us, TlsFaultKind::NotTls13),
            _ => (FaultSide::Us, TlsFaultKind::Other),
        };
        Self { side, kind, detail: error.to_string() }
    }
}

fn alert_kind(alert: AlertDescription) -> TlsFaultKind {
    match alert {
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => {
            TlsFaultKind::NoCertificate
        }
        AlertDescription::CertificateExpired => TlsFaultKind::Expired,
        AlertDescription::UnknownCA => TlsFaultKind::OtherAuthority,
        AlertDescription::BadCertificate | AlertDescription::CertificateUnknown => {
            TlsFaultKind::BadCertificate
        }
        AlertDescription::ProtocolVersion => TlsFaultKind::NotTls13,
        _ => TlsFaultKind::Other,
    }
}

fn certificate_kind(error: &CertificateError) -> TlsFaultKind {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => TlsFaultKind::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            TlsFaultKind::NotYetValid
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => TlsFaultKind::OtherAuthority,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            TlsFaultKind::WrongName
        }
        _ => TlsFaultKind::BadCertificate,
    }
}
