//! TLS and mutual TLS between the programs, from certificate files.

use std::{fs, path::PathBuf};

use chaos_kitty_tests::{Finished, Sandbox, Server};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose as Purpose, IsCa, Issuer, KeyPair};

struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(sandbox: &Sandbox, name: &str) -> Self {
        let folder = sandbox.path().join(name);
        fs::create_dir(&folder).unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        fs::write(folder.join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        let authority = Self { folder, issuer: Issuer::new(params, key) };
        authority.issue("localhost", Purpose::ServerAuth);
        authority.issue("alice", Purpose::ClientAuth);
        authority
    }

    fn issue(&self, name: &str, purpose: Purpose) {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(self.folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }

    async fn server(&self, sandbox: &Sandbox) -> (Server, String) {
        let (cert, key, ca) = (self.path("localhost.pem"), self.path("localhost.key"), self.path("ca.pem"));
        let tls = ["--tls-cert", &cert, "--tls-key", &key, "--tls-client-ca", &ca];
        let server = sandbox.server(&[&tls[..], &["--listen", "https://localhost:0"]].concat()).await;
        let listening = server.status().await.listening;
        let address = listening.into_iter().find(|address| address.starts_with("https")).unwrap();
        (server, address)
    }
}

fn status(sandbox: &Sandbox, address: &str, ca: &Authority, client: Option<&Authority>) -> Finished {
    let mut flags = vec!["--tls-ca".to_owned(), ca.path("ca.pem")];
    if let Some(client) = client {
        let pair = [
            "--tls-cert".to_owned(),
            client.path("alice.pem"),
            "--tls-key".to_owned(),
            client.path("alice.key"),
        ];
        flags.extend(pair);
    }
    flags.push("status".to_owned());
    sandbox.kittyctl(address, &flags.iter().map(String::as_str).collect::<Vec<_>>())
}

#[tokio::test]
async fn only_who_shows_a_certificate_of_the_authority_gets_an_answer() {
    let sandbox = Sandbox::new();
    let (ours, theirs) = (Authority::new(&sandbox, "ours"), Authority::new(&sandbox, "theirs"));
    let (_server, address) = ours.server(&sandbox).await;
    let good = status(&sandbox, &address, &ours, Some(&ours));
    assert_eq!(good.code, 0, "{good}");
    for (what, refused) in [
        ("wrong authority", status(&sandbox, &address, &theirs, Some(&ours))),
        ("no client certificate", status(&sandbox, &address, &ours, None)),
        ("foreign client certificate", status(&sandbox, &address, &ours, Some(&theirs))),
    ] {
        assert_eq!(refused.code, 4, "{what}: {refused}");
        let talk = refused.stderr.to_lowercase();
        assert!(talk.contains("certificate") && talk.contains("--tls-"), "{what}: {refused}");
    }
    let plain = sandbox.kittyctl(&address.replace("https", "http"), &["status"]);
    assert_eq!(plain.code, 4, "{plain}");
    assert!(plain.stderr.contains("https://"), "{plain}");
}
