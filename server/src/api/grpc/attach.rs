use chaos_kitty::v1::AgentMessage;
use tonic::{Request, Streaming};

use super::Service;
use crate::{fleet::AttachStream, listen::PeerInfo};

/// Without a listener's word on it (a test's own transport), nothing is known of the peer.
pub(super) fn attach(service: &Service, mut request: Request<Streaming<AgentMessage>>) -> AttachStream {
    let peer = request.extensions_mut().remove::<PeerInfo>().unwrap_or_default();
    service.fleet.attach_stream(request.into_inner(), peer)
}
