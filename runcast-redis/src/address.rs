//! Where Redis is, as a URL says it: one server, nodes of a Cluster, or whoever sentinels name.
//!
//! Only reads the URL. That a server is a node of a Cluster is noticed when it answers.

use std::path::Path;

use redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, ProtocolVersion, RedisResult,
    TlsCertificates,
};

use crate::options::{OptionsError, without_password};

/// The port of a sentinel of which only the host is said.
const SENTINEL_PORT: u16 = 26_379;
/// The largest file of certificates that is read.
const CA_BYTES_MAX: u64 = 1024 * 1024;

/// Where Redis is.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(crate) place: Place,
    /// How to talk to any server that is found: user, password, database, whether by TLS.
    template: ConnectionInfo,
    /// Certificates of who may have signed the servers' own, if not those of the system.
    ca: Option<Vec<u8>>,
}

#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// The server itself, or some nodes of a Cluster.
    Servers(Vec<ConnectionInfo>),
    /// The sentinels that know the primary by this name.
    Sentinels { sentinels: Vec<ConnectionInfo>, name: String },
}

impl Address {
    pub(crate) fn read(url: &str, ca_file: Option<&Path>) -> Result<Self, OptionsError> {
        let wrong = |reason: String| OptionsError::Url { url: without_password(url), reason };
        let ca = ca_file.map(read_ca).transpose()?;
        let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("no scheme".to_owned()))?;
        let info = |scheme: &str, login: &str, host: &str, path: &str| {
            let info = format!("{scheme}://{login}{host}{path}").into_connection_info();
            // Pushes and replies come on one connection.
            let info = info.map_err(|error| wrong(error.to_string()))?;
            let redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
            Ok(info.set_redis_settings(redis))
        };
        let (login, hosts) = match rest.rsplit_once('@') {
            Some((login, hosts)) => (format!("{login}@"), hosts),
            None => (String::new(), rest),
        };
        let (hosts, path) = match hosts.find(['/', '?', '#']) {
            Some(at) => hosts.split_at(at),
            None => (hosts, ""),
        };
        let server_scheme = match scheme {
            "redis-sentinel" => "redis",
            "rediss-sentinel" => "rediss",
            "redis" | "rediss" | "valkey" | "valkeys" => {
                let servers = hosts.split(',').map(|host| info(scheme, &login, host, path));
                let servers: Vec<ConnectionInfo> = servers.collect::<Result<_, _>>()?;
                let template = servers[0].clone();
                return Ok(Self { place: Place::Servers(servers), template, ca });
            }
            _ => {
                let template = info(scheme, "", rest, "")?;
                let place = Place::Servers(vec![template.clone()]);
                return Ok(Self { place, template, ca });
            }
        };
        let (name, database) = path
            .trim_start_matches('/')
            .split_once('/')
            .unwrap_or_else(|| (path.trim_start_matches('/'), ""));
        if name.is_empty() {
            let reason = "it does not name the primary: redis-sentinel://host:26379/<name>";
            return Err(wrong(reason.to_owned()));
        }
        let sentinels = hosts.split(',').map(|host| {
            let port = host.rsplit(']').next().is_some_and(|behind| behind.contains(':'));
            let port = if port { String::new() } else { format!(":{SENTINEL_PORT}") };
            info(server_scheme, &login, &format!("{host}{port}"), "")
        });
        let sentinels: Vec<ConnectionInfo> = sentinels.collect::<Result<_, _>>()?;
        let template = info(server_scheme, &login, "localhost", &format!("/{database}"))?;
        let place = Place::Sentinels { sentinels, name: name.to_owned() };
        Ok(Self { place, template, ca })
    }

    pub(crate) fn database(&self) -> i64 {
        self.template.redis_settings().db()
    }

    /// How to connect to a server that was named by another.
    pub(crate) fn server(&self, host: &str, port: u16) -> ConnectionInfo {
        let addr = match self.template.addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => ConnectionAddr::TcpTls {
                host: host.to_owned(),
                port,
                insecure: *insecure,
                tls_params: tls_params.clone(),
            },
            _ => ConnectionAddr::Tcp(host.to_owned(), port),
        };
        self.template.clone().set_addr(addr)
    }

    pub(crate) fn client(&self, info: ConnectionInfo) -> RedisResult<Client> {
        match (info.addr(), &self.ca) {
            (ConnectionAddr::TcpTls { .. }, Some(ca)) => {
                let certificates =
                    TlsCertificates { client_tls: None, root_cert: Some(ca.clone()) };
                Client::build_with_tls(info, certificates)
            }
            _ => Client::open(info),
        }
    }
}

fn read_ca(path: &Path) -> Result<Vec<u8>, OptionsError> {
    use std::io::Read as _;
    let wrong = |reason: String| OptionsError::Ca { path: path.to_owned(), reason };
    let mut bytes = Vec::new();
    let read =
        std::fs::File::open(path).and_then(|file| file.take(CA_BYTES_MAX).read_to_end(&mut bytes));
    read.map_err(|error| wrong(error.to_string()))?;
    let is_pem = bytes.windows(27).any(|some| some == b"-----BEGIN CERTIFICATE-----");
    is_pem.then_some(bytes).ok_or_else(|| wrong("it has no certificate in PEM".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(infos: &[ConnectionInfo]) -> Vec<String> {
        infos.iter().map(|info| info.addr().to_string()).collect()
    }

    #[test]
    fn a_url_names_a_server_or_nodes_of_a_cluster() {
        let address = Address::read("rediss://me:p%40ss@a:1,b:2/3", None).unwrap();
        let Place::Servers(servers) = &address.place else { panic!("they are servers") };
        assert_eq!(shown(servers), ["a:1", "b:2"]);
        assert_eq!(address.database(), 3);
        let other = address.server("c", 4);
        assert!(matches!(other.addr(), ConnectionAddr::TcpTls { .. }));
        assert_eq!(other.redis_settings().username(), Some("me"));
        assert_eq!(other.redis_settings().password(), Some("p@ss"));
        assert_eq!(other.redis_settings().protocol(), ProtocolVersion::RESP3);
    }

    #[test]
    fn a_url_names_sentinels_and_what_they_call_the_primary() {
        let address = Address::read("redis-sentinel://:pw@s1,s2:7,[::1]/mine/2", None).unwrap();
        let Place::Sentinels { sentinels, name } = &address.place else { panic!("they are not") };
        assert_eq!(shown(sentinels), ["s1:26379", "s2:7", "::1:26379"]);
        assert_eq!((name.as_str(), address.database()), ("mine", 2));
        let error = Address::read("redis-sentinel://:pw@s1", None).unwrap_err().to_string();
        assert!(error.contains("redis-sentinel://host:26379/<name>"), "{error}");
        assert!(!error.contains("pw"), "{error}");
    }

    #[test]
    fn a_file_without_a_certificate_is_refused() {
        let error = Address::read("rediss://a", Some(Path::new("/dev/null"))).unwrap_err();
        assert!(error.to_string().contains("/dev/null"), "{error}");
    }
}
