//! How values look in the file that are not plain numbers or texts.

/// Durations as a number of seconds, fractions allowed.
pub mod seconds {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::time::Duration;

    /// Writes a whole number where it is one.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        if value.subsec_nanos() == 0 {
            serializer.serialize_u64(value.as_secs())
        } else {
            serializer.serialize_f64(value.as_secs_f64())
        }
    }

    /// Reads a whole number or a fraction.
    ///
    /// # Errors
    /// When it is neither, or negative.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Number {
            Whole(u64),
            Fraction(f64),
        }
        match Number::deserialize(deserializer)? {
            Number::Whole(seconds) => Ok(Duration::from_secs(seconds)),
            Number::Fraction(seconds) => Duration::try_from_secs_f64(seconds).map_err(D::Error::custom),
        }
    }
}

/// An address, or `off`.
pub mod address_or_off {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
    use std::net::SocketAddr;

    /// Writes the address or `off`.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(value: &Option<SocketAddr>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(address) => address.serialize(serializer),
            None => serializer.serialize_str("off"),
        }
    }

    /// Reads an address or `off`.
    ///
    /// # Errors
    /// When it is neither.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "off" {
            return Ok(None);
        }
        text.parse().map(Some).map_err(D::Error::custom)
    }
}
