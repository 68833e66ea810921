//! Judging a whole configuration: each value, and values that must fit together.

use super::{Config, DevLogin, Origin, Problem, Problems, apps, keys::KEYS, load::leaves};

/// Two values that do not fit together.
pub(super) struct Clash {
    /// The problem, under the first key.
    pub(super) problem: Problem,
    /// The other key.
    pub(super) other: &'static str,
}

impl Config {
    /// Judges every value and how they fit together.
    ///
    /// # Errors
    /// Every problem found.
    pub fn validate(&self) -> Result<(), Problems> {
        let values = leaves(self);
        let mut problems = Vec::new();
        for key in KEYS {
            match values.get(key.name) {
                Some(value) if key.kind.allows(value) => {}
                value => {
                    problems.push(Problem::of(key.name, value, format!("must be {}", key.kind.allowed())));
                }
            }
        }
        problems.extend(apps::problems(self.apps.iter().map(|app| (app, Origin::Default))));
        problems.extend(self.clashes().into_iter().map(|clash| clash.problem));
        if problems.is_empty() { Ok(()) } else { Err(Problems(problems)) }
    }

    /// Values that are good alone and do not fit together.
    pub(super) fn clashes(&self) -> Vec<Clash> {
        let values = leaves(self);
        let mut found = Vec::new();
        let mut clash = |key: &'static str, other: &'static str, bad: bool, why: String| {
            if bad {
                let problem = Problem::of(key, values.get(key), why);
                found.push(Clash { problem, other });
            }
        };
        let Self { limits, sessions, tls, mesh, .. } = self;
        clash(
            "limits.frame",
            "limits.content",
            limits.frame < limits.content.saturating_add(1_024),
            format!("must be at least 1024 more than limits.content, which is {}", limits.content),
        );
        clash(
            "limits.outbox",
            "limits.frame",
            limits.outbox < limits.frame,
            format!("must be at least limits.frame, which is {}", limits.frame),
        );
        clash(
            "sessions.ping",
            "sessions.idle_timeout",
            sessions.ping >= sessions.idle_timeout,
            format!(
                "must be less than sessions.idle_timeout, which is {} s",
                sessions.idle_timeout.as_secs_f64()
            ),
        );
        clash(
            "dev_login",
            "listen",
            self.dev_login == DevLogin::On && !self.listen.ip().is_loopback(),
            format!(
                "would let anybody on the network in under any name, since listen is {}; use a loopback address such \
                 as 127.0.0.1:{} or leave dev_login out",
                self.listen,
                self.listen.port()
            ),
        );
        clash(
            "admin_listen",
            "listen",
            self.admin_listen == Some(self.listen) && self.listen.port() != 0,
            "must not be the same as listen".into(),
        );
        clash(
            "node",
            "mesh.listen",
            mesh.listen.is_some() && self.node == "local",
            "is the name of a node alone; with mesh.listen on, give each node a name of its own, such as eu-1".into(),
        );
        clash(
            "mesh.advertise",
            "mesh.listen",
            mesh.advertise.is_empty() && mesh.listen.is_some_and(|address| address.ip().is_unspecified()),
            "must be given, since mesh.listen is all addresses: the host and port at which other nodes reach this one"
                .into(),
        );
        let (certificate, key) = (tls.certificate.as_os_str(), tls.key.as_os_str());
        clash(
            "tls.certificate",
            "tls.key",
            certificate.is_empty() && !key.is_empty(),
            "must be given too when tls.key is".into(),
        );
        clash(
            "tls.key",
            "tls.certificate",
            key.is_empty() && !certificate.is_empty(),
            "must be given too when tls.certificate is".into(),
        );
        for (name, path) in [("tls.certificate", &tls.certificate), ("tls.key", &tls.key)] {
            if !path.as_os_str().is_empty() {
                let error = std::fs::File::open(path).err();
                clash(
                    name,
                    name,
                    error.is_some(),
                    error.map_or_else(String::new, |e| format!("cannot be read: {e}")),
                );
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_defaults_are_good() {
        Config::default().validate().unwrap();
    }

    #[test]
    fn a_node_with_peers_has_a_name_of_its_own() {
        let mut config = Config::default();
        config.mesh.listen = Some("127.0.0.1:7400".parse().unwrap());
        let text = config.validate().unwrap_err().to_string();
        assert!(text.contains("node = \"local\": is the name of a node alone"), "{text}");
        config.node = "eu-1".into();
        config.validate().unwrap();
    }

    #[test]
    fn all_problems_come_at_once_with_name_value_and_what_is_allowed() {
        let mut config = Config::default();
        config.limits.content = 0;
        config.limits.frame = 262_144;
        config.limits.outbox = 65_536;
        config.sessions.ping = Duration::from_secs(90);
        config.node = "a b".into();
        config.tls.key = "no-such-file.pem".into();
        config.dev_login = DevLogin::On;
        config.listen = "0.0.0.0:8080".parse().unwrap();
        config.mesh.listen = Some("0.0.0.0:7400".parse().unwrap());
        config.mesh.public_url = "eu.example.com".into();
        config.apps.push(crate::config::App::default());
        let problems = config.validate().unwrap_err().0;
        let text: Vec<_> = problems.iter().map(ToString::to_string).collect();
        for start in [
            "node = \"a b\": must be 1 to 64 letters",
            "limits.content = 0: must be 1024 to 1048576 bytes",
            "apps[0].key = \"\": ",
            "apps[0].secret: ",
            "limits.outbox = 65536: must be at least limits.frame, which is 262144",
            "sessions.ping = 90: must be less than sessions.idle_timeout, which is 60 s",
            "dev_login = true: would let anybody",
            "tls.certificate = \"\": must be given too",
            "mesh.advertise = \"\": must be given, since mesh.listen",
            "mesh.public_url = \"eu.example.com\": must be a URL",
            "tls.key = \"no-such-file.pem\": cannot be read",
        ] {
            assert_eq!(text.iter().filter(|line| line.starts_with(start)).count(), 1, "{start} in {text:#?}");
        }
        assert_eq!(text.len(), 11, "{text:#?}");
    }
}
