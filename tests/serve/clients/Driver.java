/* JDBC against PostgreSQL's port: java -cp LIBS/* Driver.java PORT. Prints "ok" when all is as it is with a server. */
import java.io.StringReader;
import java.io.StringWriter;
import java.sql.*;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import org.postgresql.PGConnection;

public class Driver {
    static String url(String port, String database) {
        return "jdbc:postgresql://127.0.0.1:" + port + "/" + database;
    }

    static void equal(Object got, Object want, String what) {
        if (!got.equals(want))
            throw new AssertionError(what + ": got " + got + ", want " + want);
    }

    static long one(Connection c, String sql) throws SQLException {
        try (Statement s = c.createStatement(); ResultSet r = s.executeQuery(sql)) {
            r.next();
            return r.getLong(1);
        }
    }

    static void statements(Connection c) throws SQLException {
        c.createStatement().execute("create table j (id int primary key, name text, at timestamptz, raw bytea, n numeric, ok boolean)");
        try (PreparedStatement p = c.prepareStatement("insert into j values (?, ?, ?, ?, ?, ?)")) {
            for (int i = 0; i < 1000; i++) { /* becomes a named statement with binary parameters, then batches */
                p.setInt(1, i);
                p.setString(2, "näme " + i);
                p.setTimestamp(3, new Timestamp(i * 1000L));
                p.setBytes(4, new byte[] {(byte) i, 0, 1});
                p.setBigDecimal(5, new java.math.BigDecimal(i + ".25"));
                p.setBoolean(6, i % 2 == 0);
                if (i < 20)
                    equal(p.executeUpdate(), 1, "rows inserted");
                else
                    p.addBatch();
            }
            equal(p.executeBatch().length, 980, "batch");
        }
        try (PreparedStatement p = c.prepareStatement("select name, at, raw, n, ok from j where id = ?")) {
            for (int i = 0; i < 30; i++) {
                p.setInt(1, i);
                ResultSet r = p.executeQuery();
                equal(r.next(), true, "a row");
                equal(r.getString(1), "näme " + i, "text");
                equal(r.getTimestamp(2).getTime(), i * 1000L, "time");
                equal(r.getBytes(3)[0], (byte) i, "bytes");
                equal(r.getBigDecimal(4).toString(), i + ".25", "numeric");
                equal(r.getBoolean(5), i % 2 == 0, "boolean");
            }
        }
    }

    /* Portals that are read piece by piece. */
    static void cursors(Connection c) throws SQLException {
        c.setAutoCommit(false);
        try (Statement s = c.createStatement()) {
            s.setFetchSize(7);
            ResultSet r = s.executeQuery("select id from j order by id");
            int count = 0;
            while (r.next())
                equal(r.getInt(1), count++, "row");
            equal(count, 1000, "rows");
        }
        c.rollback();
        c.setAutoCommit(true);
    }

    static void errors(Connection c) throws SQLException {
        try {
            one(c, "select 1/0");
            throw new AssertionError("no error");
        } catch (SQLException e) {
            equal(e.getSQLState(), "22012", "SQLSTATE");
        }
        c.setAutoCommit(false);
        Savepoint savepoint = c.setSavepoint();
        try {
            c.createStatement().execute("insert into j (id) values (1)");
            throw new AssertionError("no error");
        } catch (SQLException e) {
            equal(e.getSQLState(), "23505", "SQLSTATE");
        }
        c.rollback(savepoint);
        equal(one(c, "select count(*) from j"), 1000L, "rows after the error");
        c.rollback();
        c.setAutoCommit(true);
        try (Statement s = c.createStatement()) {
            s.setQueryTimeout(1);
            s.executeQuery("select count(*) from generate_series(1, 1000000000000)");
            throw new AssertionError("no timeout");
        } catch (SQLException e) {
            equal(e.getSQLState(), "57014", "SQLSTATE of a timeout");
        }
    }

    static void copies(Connection c) throws Exception {
        var copy = c.unwrap(PGConnection.class).getCopyAPI();
        equal(copy.copyIn("copy j (id, name) from stdin", new StringReader("5000\tx\n5001\ty\n")), 2L, "copied in");
        StringWriter out = new StringWriter();
        equal(copy.copyOut("copy (select id, name from j where id >= 5000 order by id) to stdout", out), 2L, "copied out");
        equal(out.toString(), "5000\tx\n5001\ty\n", "what was copied");
    }

    static void metadata(Connection c) throws SQLException {
        List<String> names = new ArrayList<>();
        try (ResultSet r = c.getMetaData().getTables(null, "public", "%", new String[] {"TABLE"})) {
            while (r.next())
                names.add(r.getString("TABLE_NAME"));
        }
        equal(names.contains("heights") && names.contains("j"), true, "tables " + names);
        try (ResultSet r = c.getMetaData().getPrimaryKeys(null, "public", "heights")) {
            equal(r.next(), true, "a primary key");
            equal(r.getString("COLUMN_NAME"), "height", "its column");
        }
        equal(c.getMetaData().getDatabaseMajorVersion(), 18, "version");
    }

    public static void main(String[] args) throws Exception {
        String port = args[0];
        Properties properties = new Properties();
        properties.setProperty("user", "anybody");
        properties.setProperty("ApplicationName", "jdbc");
        try (Connection c = DriverManager.getConnection(url(port, "postgres"), properties)) {
            statements(c);
            cursors(c);
            errors(c);
            copies(c);
            metadata(c);
        }
        try (Connection c = DriverManager.getConnection(url(port, "states@4"), properties)) {
            equal(one(c, "select max(height) from heights"), 4L, "height");
            equal(one(c, "select count(*) from pg_tables where tablename = 'j'"), 0L, "others' tables");
        }
        properties.setProperty("options", "-c sorex.height=2");
        try (Connection c = DriverManager.getConnection(url(port, "states"), properties)) {
            equal(one(c, "select max(height) from heights"), 2L, "height");
        }
        System.out.println("ok");
    }
}
