//! How a file server is reached: the options of `hv run` and `hv shell` that say how theirs listens, and what its
//! clients on the host must know.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context, Result, bail};
use clap::Args;
use harness::{Mode, Network, Secret};
use monitor_ui::Runs;
use protocol::host::Options as Client;
use protocol::noise::Key;

/// How the file server listens.
#[derive(Clone, Debug, Args)]
pub struct Access {
    /// Encrypt what travels between the file server and its clients, with a fresh key (noise mode).
    #[arg(long)]
    noise: bool,
    /// Where the file server listens; without a port on a free one. Other machines than this reach it only with --noise.
    #[arg(long, value_name = "IP[:PORT]", default_value = "127.0.0.1", value_parser = parse_listen)]
    listen: SocketAddr,
}

impl Default for Access {
    /// On loopback, with a token.
    fn default() -> Self {
        Access {
            noise: false,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        }
    }
}

fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    let with_free_port = |_| text.parse::<IpAddr>().map(|ip| SocketAddr::from((ip, 0)));
    text.parse()
        .or_else(with_free_port)
        .map_err(|_| "use an address of this host, as in 192.168.77.1 or 192.168.77.1:7049".into())
}

impl Access {
    /// On loopback, in noise mode.
    #[must_use]
    pub fn with_noise() -> Access {
        Access {
            noise: true,
            ..Access::default()
        }
    }

    /// Where to listen.
    #[must_use]
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// In which mode.
    #[must_use]
    pub fn mode(&self) -> Mode {
        match self.noise {
            true => Mode::Noise,
            false => Mode::Plain,
        }
    }

    /// Whether a guest on this network reaches the server.
    #[must_use]
    pub fn is_reached_from(&self, network: &Network) -> bool {
        !self.listen.ip().is_loopback() || network.reaches_loopback()
    }

    /// That the options make sense together.
    ///
    /// # Errors
    /// When others could read along, or no guest would find the server.
    pub fn check(&self) -> Result<()> {
        let ip = self.listen.ip();
        if !ip.is_loopback() && !self.noise {
            bail!(
                "--listen {ip} is not this host's loopback: add --noise, so that nobody reads along"
            );
        }
        if ip.is_unspecified() || ip.is_ipv6() {
            bail!("--listen {ip}: name the one IPv4 address that the guest shall connect to");
        }
        Ok(())
    }
}

/// What is in the file of a server that somebody else started.
///
/// # Errors
/// When neither file was named, or it cannot be read or holds no key.
pub fn secret(token_file: Option<&Path>, key_file: Option<&Path>) -> Result<Secret> {
    let read = |file: &Path| {
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
    };
    match (token_file, key_file) {
        (_, Some(file)) => {
            let text = read(file)?;
            let wrong = || {
                format!(
                    "{} holds no key; nfs-server keygen makes one",
                    file.display()
                )
            };
            Key::parse(&text).with_context(wrong)?;
            Ok(Secret::Key(text.trim().to_owned()))
        }
        (Some(file), None) => Ok(Secret::Token(read(file)?.trim().to_owned())),
        (None, None) => bail!(
            "a server that this workspace did not start wants --token-file FILE or --key FILE: what it was started with"
        ),
    }
}

/// A client's options.
///
/// # Errors
/// When the key is none.
pub fn client(address: SocketAddr, secret: &Secret) -> Result<Client> {
    Ok(match secret {
        Secret::Token(token) => Client::new(address, token.as_bytes()),
        Secret::Key(key) => Client::with_key(address, parse_key(key)?),
    })
}

/// A monitor's options.
///
/// # Errors
/// When the key is none.
pub fn screen(address: SocketAddr, secret: &Secret, runs: Runs) -> Result<monitor_ui::Options> {
    Ok(match secret {
        Secret::Token(token) => monitor_ui::Options::server(address, token.as_bytes(), runs),
        Secret::Key(key) => monitor_ui::Options::server_with_key(address, parse_key(key)?, runs),
    })
}

fn parse_key(text: &str) -> Result<Key> {
    Key::parse(text).context("the server's key is damaged")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(listen: &str, noise: bool) -> Access {
        let listen = parse_listen(listen).unwrap();
        Access { noise, listen }
    }

    #[test]
    fn others_reach_the_server_only_in_noise_mode() {
        assert!(access("127.0.0.1", false).check().is_ok());
        let error = access("192.168.77.1", false).check().unwrap_err();
        assert!(error.to_string().contains("add --noise"), "{error}");
        assert!(access("192.168.77.1:7049", true).check().is_ok());
        for address in ["0.0.0.0", "[::1]:7049", "fe80::1"] {
            let error = access(address, true).check().unwrap_err();
            assert!(error.to_string().contains("the one IPv4"), "{error}");
        }
        assert!(parse_listen("host").unwrap_err().contains("192.168"));
    }

    #[test]
    fn a_secret_comes_from_one_of_two_files() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, "c0ffee\n").unwrap();
        assert_eq!(
            secret(Some(&file), None).unwrap(),
            Secret::Token("c0ffee".into())
        );
        let error = format!("{:#}", secret(None, Some(&file)).unwrap_err());
        assert!(error.contains("holds no key"), "{error}");
        std::fs::write(
            &file,
            format!("{} {} me\n", "0a".repeat(16), "5e".repeat(32)),
        )
        .unwrap();
        let key = secret(None, Some(&file)).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 7049));
        assert!(client(address, &key).unwrap().key.is_some(), "never plain");
        assert!(secret(None, None).is_err());
    }
}
