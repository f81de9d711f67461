//! `[metrics]`: where a monitoring system on this machine reads counters.

use std::net::SocketAddr;

use tidegate_settings::Section;

/// None where it is wrong; the problem is noted.
pub(super) fn read(mut section: Section<'_>) -> Option<SocketAddr> {
    let listen = section.required_as("listen", loopback);
    section.end();
    listen
}

/// Counters are not encrypted, and who may read them is not asked: they do not leave the machine this way.
fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text
        .parse()
        .map_err(|_| format!("{text:?} is not an address such as \"127.0.0.1:9464\""))?;
    match address.ip().is_loopback() {
        true => Ok(address),
        false => Err(format!(
            "{text} can be reached from other machines: listen on 127.0.0.1 or [::1], behind a proxy with TLS, or let \
             node_exporter read what tidegate status -o openmetrics prints"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_served_to_this_machine_only() {
        assert!(loopback("127.0.0.1:9464").is_ok());
        assert!(loopback("[::1]:0").is_ok());
        for wrong in ["0.0.0.0:9464", "[::]:9464", "10.0.0.7:9464"] {
            let told = loopback(wrong).unwrap_err();
            assert!(told.contains("from other machines"), "{told}");
        }
        for wrong in ["", "9464", ":9464", "localhost:9464"] {
            let told = loopback(wrong).unwrap_err();
            assert!(told.contains("is not an address"), "{told}");
        }
    }
}
