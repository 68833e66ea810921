//! Several nodes with real links between them, on this machine.

use super::{
    child::{self, Child, Wanted},
    probe::Samples,
};
use crate::{
    cli::http,
    config::{App, apps_file},
    mesh::certs::{self, CA_DAYS, Issue},
};
use anyhow::{Context as _, bail};
use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::Path,
    time::{Duration, Instant},
};

/// How long the nodes may take to find each other.
const TOGETHER: Duration = Duration::from_secs(30);
/// How often they are looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Starts `count` nodes of one cluster below `folder` and waits until each has links to all others and lets clients in.
///
/// # Errors
/// Why they did not start, or did not find each other.
pub(super) async fn serve(
    folder: &Path,
    count: usize,
    wanted: Wanted<'_>,
) -> anyhow::Result<(Vec<Child>, App)> {
    let certificates = folder.join("certs");
    certs::init(&certificates, CA_DAYS)?;
    let app = apps_file::create(&folder.join("n0"), None, None, "bench")?;
    let mut places = Vec::with_capacity(count);
    for number in 0..count {
        let node = name(number);
        certs::issue(&certificates, &Issue { node: &node, hosts: &[], days: 1, replace: false })?;
        if number > 0 {
            apps_file::create(&folder.join(&node), Some(&app.key), Some(&app.secret), "bench")?;
        }
        // Kept until all are known, so that no two are the same.
        places.push((TcpListener::bind(LOCAL)?, UdpSocket::bind(LOCAL)?));
    }
    let clients = places.iter().map(|(tcp, _)| tcp.local_addr()).collect::<Result<Vec<_>, _>>()?;
    let links = places.iter().map(|(_, udp)| udp.local_addr()).collect::<Result<Vec<_>, _>>()?;
    drop(places);
    let certificates = certificates.to_str().context("the folder's name is not UTF-8")?;
    let mut nodes = Vec::with_capacity(count);
    for (number, (client, link)) in clients.iter().zip(&links).enumerate() {
        let others = links.iter().filter(|other| *other != link).map(SocketAddr::to_string);
        let own = [
            ("node", name(number)),
            ("region", name(number)),
            ("listen", client.to_string()),
            ("mesh.listen", link.to_string()),
            ("mesh.advertise", String::new()),
            ("mesh.seeds", others.collect::<Vec<_>>().join(",")),
            ("mesh.certs", certificates.to_owned()),
            ("mesh.public_url", format!("http://{client}")),
        ];
        nodes.push(child::serve(&folder.join(name(number)), wanted, &own).await?);
    }
    together(&nodes).await?;
    Ok((nodes, app))
}

const LOCAL: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

fn name(number: usize) -> String {
    format!("n{number}")
}

/// Waits until every node has links to all others and lets clients in.
async fn together(nodes: &[Child]) -> anyhow::Result<()> {
    let (begun, others) = (Instant::now(), nodes.len() - 1);
    for node in nodes {
        let admin = node.admin.context("the node has no admin address")?;
        while !tokio::task::spawn_blocking(move || is_with(admin, others)).await?.context("a node is gone")? {
            if begun.elapsed() > TOGETHER {
                bail!("the nodes did not find each other within {} s", TOGETHER.as_secs());
            }
            tokio::time::sleep(LOOK).await;
        }
    }
    Ok(())
}

/// Whether a node has links to so many others and lets clients in.
fn is_with(admin: SocketAddr, others: usize) -> io::Result<bool> {
    let metrics = Samples::read(&http::get(admin, "/metrics")?.body);
    Ok(metrics.get("hongyan_mesh_links") as usize >= others && http::get(admin, "/readyz")?.status == 200)
}
