//! The packaged units in a booted systemd.

use chaos_kitty_tests::{Sandbox, booted::Booted};

#[tokio::test]
async fn the_machine_boots() {
    let sandbox = Sandbox::new();
    let machine = Booted::new(&sandbox).await;
    assert_eq!(machine.property("dbus.service", "ActiveState"), "active");
    machine.power_off().await;
}
