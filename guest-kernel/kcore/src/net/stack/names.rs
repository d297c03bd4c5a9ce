//! Names of other machines.

use super::{LOCALHOST, Notify, Stack};
use crate::net::port::{Receive, Tap, Transmit};
use crate::net::settings::parse_ipv4;
use abi::Errno;
use smoltcp::socket::dns;
use smoltcp::wire::{DnsQueryType, IpAddress};

/// Names being asked for at the same time.
const QUERIES_MAX: usize = 16;

/// A name being asked for.
pub struct Query(Answer);

enum Answer {
    Known([u8; 4]),
    Pending(dns::QueryHandle),
    Done,
}

impl<Rx: Receive, Tx: Transmit, T: Tap, N: Notify> Stack<Rx, Tx, T, N> {
    /// Starts asking the name server for a name's IPv4 addresses.
    pub fn resolve_start(&mut self, name: &str) -> Result<Query, Errno> {
        if name.eq_ignore_ascii_case("localhost") {
            return Ok(Query(Answer::Known(LOCALHOST.octets())));
        }
        if let Some(address) = parse_ipv4(name) {
            return Ok(Query(Answer::Known(address)));
        }
        if self.lease.dns.is_none() {
            return Err(Errno::ENETUNREACH);
        }
        if self.queries >= QUERIES_MAX {
            return Err(Errno::EAGAIN);
        }
        let socket = self.core.sockets.get_mut::<dns::Socket<'_>>(self.dns);
        let handle = socket
            .start_query(self.core.iface.context(), name, DnsQueryType::A)
            .map_err(|error| match error {
                dns::StartQueryError::NoFreeSlot => Errno::EAGAIN,
                dns::StartQueryError::InvalidName => Errno::EINVAL,
                dns::StartQueryError::NameTooLong => Errno::ENAMETOOLONG,
            })?;
        self.queries += 1;
        Ok(Query(Answer::Pending(handle)))
    }

    /// The addresses, or EAGAIN while the name server has not answered; any other result ends the
    /// query.
    pub fn resolve_finish(
        &mut self,
        query: &mut Query,
        out: &mut [[u8; 4]],
    ) -> Result<usize, Errno> {
        let handle = match query.0 {
            Answer::Known(address) => {
                query.0 = Answer::Done;
                return match out.first_mut() {
                    Some(slot) => {
                        *slot = address;
                        Ok(1)
                    }
                    None => Ok(0),
                };
            }
            Answer::Done => return Err(Errno::EINVAL),
            Answer::Pending(handle) => handle,
        };
        let socket = self.core.sockets.get_mut::<dns::Socket<'_>>(self.dns);
        let addresses = match socket.get_query_result(handle) {
            Err(dns::GetQueryResultError::Pending) => return Err(Errno::EAGAIN),
            Err(dns::GetQueryResultError::Failed) => {
                query.0 = Answer::Done;
                self.queries -= 1;
                return Err(Errno::ENOENT);
            }
            Ok(addresses) => addresses,
        };
        query.0 = Answer::Done;
        self.queries -= 1;
        let mut count = 0;
        for (slot, address) in out.iter_mut().zip(addresses) {
            let IpAddress::Ipv4(address) = address;
            *slot = address.octets();
            count += 1;
        }
        Ok(count)
    }

    /// Forgets a query nobody waits for any more.
    pub fn resolve_cancel(&mut self, query: Query) {
        if let Answer::Pending(handle) = query.0 {
            self.core
                .sockets
                .get_mut::<dns::Socket<'_>>(self.dns)
                .cancel_query(handle);
            self.queries -= 1;
        }
    }
}
