//! Where this machine takes Debian from: mirror, proxies and logins, as apt is configured.
//!
//! debootstrap downloads with wget, which knows nothing of apt's configuration; so it is read
//! here and handed on. Nothing of it is ever written below version control or into the image.
//! Start with [`Source::configured`]. Proxies that apt finds by running a program
//! (Acquire::http::Proxy-Auto-Detect) are not supported: set `http_proxy` instead.

use std::{
    fs,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};

use crate::project;

/// Names the mirror on machines whose apt knows none of Debian's.
const MIRROR_VARIABLE: &str = "OSMODA_DEBIAN_MIRROR";

/// Where packages come from, and how to get there.
pub struct Source {
    /// URL of a Debian archive. It may hold a password: not for logs.
    pub mirror: String,
    /// Environment that wget needs.
    proxies: Vec<(&'static str, String)>,
    /// Logins in netrc(5) form, empty if there are none.
    logins: String,
}

impl Source {
    /// Reads apt's configuration.
    ///
    /// # Errors
    /// apt is missing or fails, or knows no mirror of Debian.
    pub fn configured() -> anyhow::Result<Self> {
        let targets = project::output(Command::new("apt-get").args([
            "indextargets",
            "--format",
            "$(ORIGIN)|$(LABEL)|$(REPO_URI)",
            "Created-By: Packages",
        ]))?;
        let mirror = std::env::var(MIRROR_VARIABLE)
            .ok()
            .or_else(|| find_mirror(&targets));
        let Some(mirror) = mirror else {
            bail!(
                "apt knows no mirror of Debian: run apt-get update, \
                 or set {MIRROR_VARIABLE} to a mirror's URL"
            );
        };
        let settings = project::output(Command::new("apt-config").arg("dump"))?;
        Ok(Self {
            proxies: find_proxies(&settings, &mirror),
            logins: read_logins(&settings)?,
            mirror,
        })
    }

    /// Lets a command that uses wget reach the mirror. `private` is a directory for secrets,
    /// which the caller removes afterwards.
    ///
    /// # Errors
    /// The logins cannot be written.
    pub fn apply(&self, command: &mut Command, private: &Path) -> anyhow::Result<()> {
        command.envs(self.proxies.iter().map(|(name, value)| (name, value)));
        if self.logins.is_empty() {
            return Ok(());
        }
        let path = private.join(".netrc");
        fs::create_dir_all(private).with_context(|| format!("creating {}", private.display()))?;
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("creating {}", path.display()))?;
        std::io::Write::write_all(&mut file, self.logins.as_bytes())
            .with_context(|| format!("writing {}", path.display()))?;
        // wget looks for .netrc in the home directory, and nowhere else.
        command.env("HOME", private);
        Ok(())
    }
}

/// The archive proper among apt's sources; the one for security updates has another label.
fn find_mirror(targets: &str) -> Option<String> {
    let reachable = ["http://", "https://", "ftp://", "file:"];
    targets.lines().find_map(|line| {
        let mut fields = line.splitn(3, '|');
        let is_archive = fields.next()? == "Debian" && fields.next()? == "Debian";
        let uri = fields.next()?;
        let usable = reachable.iter().any(|scheme| uri.starts_with(scheme));
        (is_archive && usable).then(|| uri.trim_end_matches('/').to_owned())
    })
}

/// The variables that stand for apt's proxies (apt-transport-http(1)): one for the mirror's host
/// goes before one for all; DIRECT means none. Without a setting the environment stays as it is.
fn find_proxies(settings: &str, mirror: &str) -> Vec<(&'static str, String)> {
    let host = host_of(mirror);
    [("http", "http_proxy"), ("https", "https_proxy")]
        .into_iter()
        .filter_map(|(scheme, variable)| {
            let general = format!("Acquire::{scheme}::Proxy");
            let value = setting(settings, &format!("{general}::{host}"))
                .or_else(|| setting(settings, &general))?;
            let proxy = if value == "DIRECT" { "" } else { value };
            Some((variable, proxy.to_owned()))
        })
        .collect()
}

/// A value of `apt-config dump`; apt takes names without regard to case.
fn setting<'a>(settings: &'a str, name: &str) -> Option<&'a str> {
    settings.lines().rev().find_map(|line| {
        let (key, value) = line.split_once(' ')?;
        let value = value.strip_prefix('"')?.strip_suffix("\";")?;
        (key.eq_ignore_ascii_case(name) && !value.is_empty()).then_some(value)
    })
}

/// The host in a URL, without login and port.
fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or(rest);
    let host = authority.rsplit('@').next().unwrap_or(authority);
    host.split(':').next().unwrap_or(host)
}

/// All of apt_auth.conf(5), as netrc(5).
fn read_logins(settings: &str) -> anyhow::Result<String> {
    let directory = |name: &str| setting(settings, name).unwrap_or_default().to_owned();
    let base = Path::new("/")
        .join(directory("Dir"))
        .join(directory("Dir::Etc"));
    let mut files: Vec<PathBuf> = vec![base.join(directory("Dir::Etc::netrc"))];
    let parts = base.join(directory("Dir::Etc::netrcparts"));
    for entry in fs::read_dir(parts).into_iter().flatten() {
        files.push(entry.context("reading apt's logins")?.path());
    }
    files.retain(|file| file.is_file());
    files.sort();
    let mut logins = String::new();
    for file in files {
        let text =
            fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        logins.push_str(&to_netrc(&text));
    }
    Ok(logins)
}

/// apt lets a machine be a URL with scheme and path; netrc knows hosts only.
fn to_netrc(text: &str) -> String {
    let words: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .flat_map(str::split_whitespace)
        .collect();
    let mut netrc = String::new();
    for pair in words.chunks_exact(2) {
        let (key, value) = (pair[0], pair[1]);
        let value = if key == "machine" {
            host_of(value)
        } else {
            value
        };
        let start = if key == "machine" { "\nmachine" } else { key };
        netrc.push_str(&format!("{start} {value} "));
    }
    netrc.push('\n');
    netrc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_is_chosen_and_neither_security_nor_others() {
        let targets = "Some|Debian|http://other.example/debian/\n\
            Debian|Debian-Security|http://security.example/debian-security/\n\
            Debian|Debian|cdrom:[disc]/\n\
            Debian|Debian|http://mirror.example/debian/\n";
        assert_eq!(
            find_mirror(targets).as_deref(),
            Some("http://mirror.example/debian")
        );
        assert_eq!(find_mirror("Ubuntu|Ubuntu|http://u.example/ubuntu/"), None);
        assert_eq!(find_mirror(""), None);
    }

    #[test]
    fn a_proxy_for_the_mirrors_host_goes_before_the_general_one() {
        let settings = "Acquire::http::Proxy \"http://general:1\";\n\
            Acquire::http::proxy::mirror.example \"http://special:2\";\n";
        let of = |mirror| find_proxies(settings, mirror);
        assert_eq!(
            of("http://user:word@mirror.example:80/debian"),
            [("http_proxy", "http://special:2".to_owned())]
        );
        assert_eq!(
            of("http://elsewhere.example/debian"),
            [("http_proxy", "http://general:1".to_owned())]
        );
    }

    #[test]
    fn direct_empties_the_proxy_and_no_setting_leaves_it() {
        let direct = "Acquire::https::Proxy \"DIRECT\";\n";
        assert_eq!(find_proxies(direct, "x"), [("https_proxy", String::new())]);
        assert_eq!(find_proxies("Acquire::http::Proxy \"\";\n", "x"), []);
    }

    #[test]
    fn logins_lose_scheme_port_and_path() {
        let text = "# comment with machine words\n\
            machine https://mirror.example:443/debian/ login me password secret\n\
            machine plain.example\nlogin you\npassword other\n";
        assert_eq!(
            to_netrc(text),
            "\nmachine mirror.example login me password secret \
             \nmachine plain.example login you password other \n"
        );
    }
}
