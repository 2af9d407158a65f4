//! Whom a bearer token stands for.

use std::path::Path;
use std::sync::Arc;

use http_front::link::LinkFile;
use http_front::tokens::{TokenError, Tokens};
use hyper::header::HeaderValue;

use crate::core::{TenantId, TenantLimits};
use crate::reload::{Change, Reloaded};
use crate::tenants::{Tenants, TenantsError};

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// The fleet itself: its workers and its operator.
    Fleet,
    Tenant(TenantId),
}

/// The name of the only tenant, where none are declared, and of the fleet's own tasks.
const OWN: &str = "default";

/// Why the files with tokens and tenants cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Tenants(#[from] TenantsError),
}

impl KeysError {
    /// What a person can do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Token(error) => Some(error.help()),
            Self::Tenants(_) => None,
        }
    }
}

/// The header `Authorization` for a token.
fn bearer(token: &str) -> Option<HeaderValue> {
    let mut header = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
    header.set_sensitive(true);
    Some(header)
}

/// The tokens that are known, each file read again when it changes.
pub struct Keys {
    fixed: Tokens,
    link: Option<Arc<LinkFile>>,
    tenants: Option<Reloaded<Tenants, TenantsError>>,
}

impl Keys {
    /// Reads the files: tokens one a line, the link of the fleet, the tenants.
    pub fn open(
        tokens: Option<&Path>,
        link: Option<&Path>,
        tenants: Option<&Path>,
    ) -> Result<Self, KeysError> {
        let link = link.map(|path| Arc::new(LinkFile::open(path.to_owned())));
        let tenants = tenants.map(|path| Reloaded::open(path, Tenants::read));
        Ok(Self {
            fixed: Tokens::read(tokens, None)?,
            link,
            tenants: tenants.transpose()?,
        })
    }

    /// Whether a token is asked for.
    pub fn are_asked(&self) -> bool {
        !self.fixed.is_empty() || self.link.is_some() || self.tenants.is_some()
    }

    /// Takes as long for a wrong token as for a right one.
    pub fn who(&self, token: &str) -> Option<Who> {
        let linked = self.link.as_ref().and_then(|link| link.accept(token));
        let is_fleet = self.fixed.accept(token).or(linked).is_some();
        let tenant = self.tenants.as_ref().and_then(|tenants| {
            let tenants = tenants.get();
            tenants
                .find(token)
                .map(|tenant| tenant.name.as_str().into())
        });
        if is_fleet {
            Some(Who::Fleet)
        } else {
            tenant.map(Who::Tenant)
        }
    }

    /// What workers are shown.
    pub fn shown(&self) -> Option<HeaderValue> {
        let link = self.link.as_ref()?.subscribe().borrow().clone()?;
        bearer(link.fleet.token.expose())
    }

    /// The link file, to be followed.
    pub fn link(&self) -> Option<Arc<LinkFile>> {
        self.link.clone()
    }

    /// Who may submit, and how much.
    pub fn limits(&self) -> Vec<(TenantId, TenantLimits)> {
        let declared = self.tenants.as_ref().map(Reloaded::get).unwrap_or_default();
        let tenants = declared.all().iter().map(|tenant| {
            let limits = TenantLimits {
                weight: f64::from(tenant.weight),
                concurrent: tenant.quotas.concurrent,
                tokens_per_minute: tenant.quotas.tokens_per_minute,
                tokens_per_day: tenant.quotas.tokens_per_day,
            };
            (tenant.name.as_str().into(), limits)
        });
        let own = (OWN.into(), TenantLimits::default());
        std::iter::once(own).chain(tenants).collect()
    }

    /// Looks at the tenants, about once a second. True when they have changed.
    pub fn poll(&self) -> bool {
        let tenants = self.tenants.as_ref();
        tenants.is_some_and(|tenants| tenants.poll() == Change::Taken)
    }
}

impl Who {
    /// For whom its tasks are.
    pub fn tenant(caller: Option<&Self>) -> TenantId {
        match caller {
            Some(Self::Tenant(tenant)) => tenant.clone(),
            Some(Self::Fleet) | None => OWN.into(),
        }
    }
}
